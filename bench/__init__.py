"""Measurements of the bundle against others; see README.md."""
