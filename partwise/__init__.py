"""Partwise: cut a mesh into parts and close each part. The library under the application."""

__version__ = "0.1.0"
