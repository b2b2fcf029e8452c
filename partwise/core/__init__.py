"""What every layer may import: errors, progress, settings, worker processes. Imports nothing of ours."""
