"""What a host is like, as one JSON object: driver, GPUs, packages, clock, disks, engines.

Runs on hosts with Python's library alone (3.11), as root; reads only. `gather` says what each fact is.
"""
