"""The environment of an engine; nothing in it is secret."""

from __future__ import annotations

from vllm_fleet import paths
from vllm_fleet.engine.ray import ray_environment
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Host, Venv


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
    if placement.spans_hosts:
        values |= _between_hosts(placement)
    if placement.service.executor == "ray":
        values |= ray_environment(placement)
    return values | placement.service.env


def _between_hosts(placement: Placement) -> dict[str, str]:
    """The declared interface and nothing else: the wrong NIC is the classic failure (vllm#10626, gpustack#2275).

    NCCL's variables are those of its user guide, "Environment Variables".
    """
    host = placement.host
    return {
        # "=" means this very name; without it eth1 is a prefix, and eth10 fits too
        "NCCL_SOCKET_IFNAME": f"={host.interface}",
        # gloo takes names as they are; unset, it takes the address of the host's name, often a loopback one
        "GLOO_SOCKET_IFNAME": host.interface or "",
        **_fabric(host),
    }


def _fabric(host: Host) -> dict[str, str]:
    match host.joined_by:
        case "ethernet":
            # NCCL would try any HCA it finds, RoCE ones of another network too; this leaves it TCP
            return {"NCCL_IB_DISABLE": "1"}
        case "infiniband" | "roce":
            # without a list NCCL takes every active HCA, storage's too
            hcas = {"NCCL_IB_HCA": host.infiniband or ""}
            # NCCL takes an HCA's RoCE v2 address itself since 2.21 (default -1); before, and where it errs, by number
            index = {} if host.roce_gid_index is None else {"NCCL_IB_GID_INDEX": str(host.roce_gid_index)}
            return hcas | index
        case "efa":
            return {
                # without EFA devices in reach libfabric takes TCP, and says so in a log line only (aws-ofi-nccl#803)
                "FI_PROVIDER": "efa",
                # without the plugin NCCL takes sockets; by this name (aws-ofi-nccl >= 1.12) it fails and says why
                "NCCL_NET": "Libfabric",
            }
        case "nvlink":
            raise AssertionError("schema/fleet.py lets no service span hosts that only NVLink joins")
