"""Memory of devices: who holds it, who may have it. Knows modules and bytes, none of our models."""
