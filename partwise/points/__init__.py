"""Torch layers on voxelised points that P3-SAM and X-Part share."""
