"""A deployed fleet, asked over SSH: `pytest tests/host --inventory inventories/prod.py`."""
