"""Meshes in and out, labels, parts. numpy, scipy and trimesh; no torch."""
