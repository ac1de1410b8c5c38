"""Options and checkpoints against the GPUs of the hosts that an engine is placed on."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.engine.contract.checkpoints import checkpoint_method
from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.schema.errors import Problem
from vllm_fleet.schema.gpu import Gpu


def supported(engine: Engine) -> Iterator[Problem]:
    """The catalogue's own word (schema/gpu.py): vLLM's CUDA build needs compute capability 7.5."""
    for host, gpu in engine.gpus.items():
        if gpu.unsupported:
            yield Problem(f"hosts.{host}.gpu", f"{gpu.name} cannot serve: {gpu.unsupported}", "use another host")


def quantization(engine: Engine) -> Iterator[Problem]:
    """VllmConfig._get_quantization_config (0.33): each method has a least compute capability."""
    name = engine.get("quantization") or checkpoint_method(engine)
    method = engine.snapshot.quantization.get(name or "")
    if not method or method.capability is None:
        return
    for host, gpu in _slow(engine, method.capability):
        yield engine.problem(
            "quantization",
            f"{name} needs compute capability {_dotted(method.capability)}, {gpu.name} of {host} has {_of(gpu)}",
            "use a checkpoint of another method, or another host",
        )


def bfloat16(engine: Engine) -> Iterator[Problem]:
    """CudaPlatform.check_if_supports_dtype (0.33); `auto` takes float16 there."""
    if engine.get("dtype") == "bfloat16":
        for host, gpu in _slow(engine, 80):
            yield engine.problem(
                "dtype", f"{gpu.name} of {host} has no bfloat16 ({_of(gpu)}, needs 8.0)", "use float16"
            )


def kv_cache(engine: Engine) -> Iterator[Problem]:
    """Which attention backends take a quantized cache (v1/attention/backends, 0.33).

    FP8: FlashInfer from 8.0 on, FlashAttention on 9.0, Triton from 8.9 on. NVFP4: FlashInfer on 10.0 and 12.0.
    """
    dtype, backend = str(engine.get("kv-cache-dtype", "")), str(engine.get("attention-backend") or "").upper()
    if dtype.startswith("nvfp4") and "mla" not in dtype:
        for host, gpu in _slow(engine, 100):
            yield engine.problem("kv-cache-dtype", f"{dtype} needs Blackwell, {gpu.name} of {host} is none", "use fp8")
    if dtype not in ("fp8", "fp8_e4m3", "fp8_e5m2"):
        return
    need = {"FLASH_ATTN": 90, "TRITON_ATTN": 89}.get(backend, 80)
    with_backend = f" with {backend}" if need > 80 else ""
    for host, gpu in _slow(engine, need):
        yield engine.problem(
            "kv-cache-dtype",
            f"{dtype}{with_backend} needs compute capability {_dotted(need)}, {gpu.name} of {host} has {_of(gpu)}",
            "use auto" if not with_backend else "use auto, or remove attention-backend",
        )


def _slow(engine: Engine, capability: int) -> Iterator[tuple[str, Gpu]]:
    """Hosts whose GPU has less than a compute capability; those that cannot serve at all are said already."""
    for host, gpu in engine.gpus.items():
        major, minor = gpu.compute_capability
        if major * 10 + minor < capability and not gpu.unsupported:
            yield host, gpu


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def _of(gpu: Gpu) -> str:
    return ".".join(map(str, gpu.compute_capability))


RULES: tuple[Rule, ...] = (supported, quantization, bfloat16, kv_cache)
