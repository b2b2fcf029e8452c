"""The built-in engine: parts and closed parts from shape alone. No weights, no torch."""
