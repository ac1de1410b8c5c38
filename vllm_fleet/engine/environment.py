"""The environment of an engine; nothing in it is secret."""

from __future__ import annotations

from vllm_fleet import paths
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Venv


def environment(placement: Placement) -> dict[str, str]:
    """Variables by name. What the service declares comes last and wins, except what it may not set at all."""
    cache = paths.cache(placement.instance)
    values = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": f"{cache}/huggingface",
        "VLLM_CACHE_ROOT": f"{cache}/vllm",
        "TRITON_CACHE_DIR": f"{cache}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "FLASHINFER_WORKSPACE_BASE": f"{cache}/flashinfer",
        "DG_JIT_CACHE_DIR": f"{cache}/deep-gemm",
        # a frozen worker is noticed after this long; the default 300 s is longer than most clients wait
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "120",
        # default 16384: one request could ask for so many sequences
        "VLLM_MAX_N_SEQUENCES": "64",
        "VLLM_HOST_IP": placement.host.address,
    }
    if placement.service.device == "cpu":
        values |= {"VLLM_TARGET_DEVICE": "cpu"}
    elif isinstance(placement.service.runtime, Venv):
        values |= {"CUDA_VISIBLE_DEVICES": ",".join(map(str, placement.gpus))}
    elif list(placement.gpus) != sorted(placement.gpus):
        # a container gets its GPUs as CDI devices, and CUDA numbers those by their bus: put them in rank order
        inside = [sorted(placement.gpus).index(gpu) for gpu in placement.gpus]
        values |= {"CUDA_VISIBLE_DEVICES": ",".join(map(str, inside))}
    if len(placement.members) > 1:
        values |= _between_hosts(placement)
    return values | placement.service.env


def _between_hosts(placement: Placement) -> dict[str, str]:
    """The declared interface and nothing else: the wrong NIC is the classic failure (vllm#10626, gpu-facts)."""
    host = placement.host
    values = {"NCCL_SOCKET_IFNAME": f"={host.interface}", "GLOO_SOCKET_IFNAME": host.interface or ""}
    return values | ({"NCCL_IB_HCA": host.infiniband} if host.infiniband else {"NCCL_IB_DISABLE": "1"})
