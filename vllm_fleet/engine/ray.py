"""Ray under a replica that spans hosts: a cluster of its members alone, which starts and ends with its engine.

Rank 0 starts the cluster and then becomes `vllm serve`; the others only join. vLLM waits for all GPUs, at most half an
hour (_wait_until_pg_ready in v1/executor/ray_utils.py, 0.32 and 0.33), and starts its workers where they are.
"""

from __future__ import annotations

import shlex

from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.planner.placement import Placement

_OBJECT_STORE_BYTES = 2**30
"""Ray takes 30 % of the host's memory; vLLM's steps and activations do not pass through it (ray_executor_v2.py)."""


def member_command(placement: Placement, programs: str = "") -> list[str]:
    """The whole argv of a member; `programs` is what stands before `ray` and `vllm`: a directory, or nothing."""
    if placement.head:
        own = ["--head", "--port", str(placement.ray_port), "--include-dashboard", "false"]
        start = shlex.join([f"{programs}ray", "start", *own, *_node(placement)])
        # Ray goes on in the background, so signals and the end are vLLM's own. It ends with its workers when a node
        # dies, and after a minute when only the GCS does (Ray 2.60). While Ray starts, sh is the main process, which
        # in a container does not hear SIGINT without a trap
        script = f'trap exit INT; {start} && exec {programs}vllm serve "$@"'
        return ["sh", "-c", script, "sh", *serve_arguments(placement)]
    # waits for rank 0's cluster, and ends when that does
    return [f"{programs}ray", "start", "--address", placement.ray_address, *_node(placement), "--block"]


def _node(placement: Placement) -> list[str]:
    """What this host brings into the cluster. `ray start --help`, and docs.ray.io, "Configuring Ray"."""
    return [
        "--node-ip-address", placement.host.address,
        # one missing is then an error of CUDA's, not a wait of half an hour for all to be there
        "--num-gpus", str(placement.service.gpus_per_node),
        "--object-store-memory", str(_OBJECT_STORE_BYTES),
        # free ones of the kernel's choice; by default 10002 to 19999, and 52365, which other services may have declared
        "--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0",
    ]  # fmt: skip


def ray_environment(placement: Placement) -> dict[str, str]:
    """Variables of Ray's own. Those of the engine reach Ray's workers from the node that runs them: host by host."""
    return {
        # without it vLLM would start a cluster of its own where it finds none on its host
        "RAY_ADDRESS": placement.ray_address,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
