"""Device memory: the one door to it and a monitor. Knows modules and bytes, not our models."""
