"""One host's part of a model that spans hosts: its engine starts, stops and fails with the other members'.

    PYTHONPATH=DIRECTORY python3 -m group INSTANCE

The main process of an engine's unit. Rank 0 leads: it starts all engines in rank order once every member has joined,
and ends them all as soon as one ends or a member is silent; then every unit ends too, and systemd starts it again.
vLLM itself would not: an idle head never notices that a worker's host is gone, a worker outlives its head, and neither
can rejoin (vLLM 0.32, measured). Python's library alone (3.11).

Exit status: 0 a stop that was asked for; 1 an engine or a member failed; GAVE_UP after too many failures in a row, on
which the unit stays failed.
"""
