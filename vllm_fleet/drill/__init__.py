"""Faults planted on purpose, and what became of the alerts that should tell of them."""
