"""Device memory: one door to it, a monitor of it. Knows modules and bytes, nothing of our models."""
