"""Whether the hosts of one model can talk as it will: the interface, the ports, then a real all-reduce.

    PYTHONPATH=DIRECTORY python3 -m fabric_check --rank R --world N --address MASTER --port P --interface IF
        [--host-address A] [--mtu M] [--device cuda|cpu] [--local-gpus K] [--expect-gbit X]

Runs on every member at the same time, with the engine's own interpreter and environment, so that the all-reduce takes
the libraries, variables and wires that the engine will take. It needs torch and Python's library, nothing else (an
engine's image has no `ip`, so the kernel is asked directly). `--rank` and `--world` count hosts; on each, one process a
GPU takes part (on CPU one). `--address` and `--port` are rank 0's; `--host-address` is the member's own declared one
(else VLLM_HOST_IP, which an engine's environment has).

Prints one JSON object: rank, ok, findings (each `what` is wrong and its `mend`, of all members that were heard),
backend, interface, mtu, and on rank 0 the measurements. Exit 0 when all is well with all members, else 1. Ends after
DEADLINE_SECONDS at the latest, and its processes with it.
"""
