"""P3-SAM: point features, prompts, masks, and one part label for each face."""
