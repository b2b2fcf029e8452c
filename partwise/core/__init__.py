"""What every layer may import: errors, progress, settings, workers. Imports nothing of ours."""
