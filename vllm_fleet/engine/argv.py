"""The `vllm serve` command line of an engine, as a list."""

from __future__ import annotations

import json
from typing import Any

from vllm_fleet import paths
from vllm_fleet.planner.placement import Placement

# Where both runtimes see these files: a container gets the host's paths mounted under the same names.


def serve_arguments(placement: Placement) -> list[str]:
    """Everything after `vllm serve` for one engine: model first (the image's entrypoint takes it so), then options.

    The API key is not here: it stands in the file given with `--config` (vllm-facts section 4: an argument shows in
    `ps`, an environment variable in `docker inspect`). With Ray only rank 0 runs it.
    """
    service = placement.service
    arguments = [paths.model(service.model.directory_name)]
    arguments += ["--config", paths.secret(placement.instance)]
    arguments += ["--served-model-name", service.model_name]
    arguments += ["--host", placement.host.address, "--port", str(placement.port)]
    arguments += _parallel(placement)
    arguments += _memory(placement)
    arguments += ["--shutdown-timeout", str(service.drain_seconds)]
    # /docs and /openapi.json are open even with a key; probes every second would fill the journal
    arguments += ["--disable-fastapi-docs", "--disable-access-log-for-endpoints", "/health,/metrics"]
    for name, value in service.options.items():
        if placement.head or name not in _HEAD_ONLY:
            arguments += _option(name, value)
    return arguments


_HEAD_ONLY = {"api-server-count"}
"""Options that vLLM refuses together with --headless (entrypoints/cli/serve.py, 0.32 and 0.33)."""


def _parallel(placement: Placement) -> list[str]:
    service = placement.service
    sizes = {
        "--tensor-parallel-size": service.tensor_parallel_size,
        "--pipeline-parallel-size": service.pipeline_parallel_size,
        "--data-parallel-size": service.data_parallel_size,
    }
    arguments = [part for name, size in sizes.items() if size > 1 for part in (name, str(size))]
    if service.expert_parallel:
        arguments.append("--enable-expert-parallel")
    if placement.spans_hosts:
        arguments += _over_hosts(placement)
        if "distributed-timeout-seconds" not in service.options:
            # defaults are 600 s (NCCL) and 1800 s (gloo): a group whose peer is gone would hang that long
            arguments += ["--distributed-timeout-seconds", "300"]
        if not placement.head and service.executor == "mp":
            arguments.append("--headless")
    return arguments


def _over_hosts(placement: Placement) -> list[str]:
    if placement.service.executor == "ray":
        return ["--distributed-executor-backend", "ray"]
    return _own_ranks(placement) if placement.service.data_parallel_over_hosts else _one_rank(placement)


def _one_rank(placement: Placement) -> list[str]:
    """This host's part of a model whose tensor and pipeline parallel ranks lie on several hosts."""
    return [
        "--nnodes", str(len(placement.members)), "--node-rank", str(placement.rank),
        "--master-addr", placement.members[0].address, "--master-port", str(placement.master_port),
        "--distributed-executor-backend", "mp",
    ]  # fmt: skip


def _own_ranks(placement: Placement) -> list[str]:
    """The data parallel ranks of this host, as many on each. The head answers for all of them (vLLM's internal load
    balancing): a start rank without --headless would make this host balance over its own ranks only
    (EngineArgs.create_engine_config, 0.32 and 0.33)."""
    count = placement.service.data_parallel_size // len(placement.members)
    start = [] if placement.head else ["--data-parallel-start-rank", str(placement.rank * count)]
    return [
        "--data-parallel-size-local", str(count), *start,
        "--data-parallel-address", placement.members[0].address,
        "--data-parallel-rpc-port", str(placement.data_parallel_rpc_port),
    ]  # fmt: skip


def _memory(placement: Placement) -> list[str]:
    service = placement.service
    arguments = ["--dtype", service.dtype]
    if service.device == "cuda":
        arguments += ["--gpu-memory-utilization", str(service.gpu_memory_utilization)]
    if service.max_model_len:
        arguments += ["--max-model-len", str(service.max_model_len)]
    if service.quantization:
        arguments += ["--quantization", service.quantization]
    if service.kv_cache_dtype != "auto":
        arguments += ["--kv-cache-dtype", service.kv_cache_dtype]
    arguments.append("--enable-prefix-caching" if service.prefix_caching else "--no-enable-prefix-caching")
    return arguments


def _option(name: str, value: Any) -> list[str]:
    """An option in vLLM's form: True is the flag, False its negation, objects are JSON, None leaves it out."""
    match value:
        case None:
            return []
        case True:
            return [f"--{name}"]
        case False:
            return [f"--no-{name}"]
        case dict():
            return [f"--{name}", _json(value)]
        case list():
            return [f"--{name}", *(_json(item) if isinstance(item, dict) else str(item) for item in value)]
        case _:
            return [f"--{name}", str(value)]


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
