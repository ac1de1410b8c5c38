"""The engine options that decide how much memory a model takes, under vLLM's own names."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_fleet.schema import Service
from vllm_fleet.schema.gpu import Gpu
from vllm_fleet.schema.service import OWNED_OPTIONS

GIB = 2**30


@dataclass(frozen=True)
class Settings:
    """Defaults are vLLM 0.33's. `None` means that vLLM chooses: see the methods."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.92
    kv_cache_dtype: str = "auto"
    quantization: str | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    dtype: str = "auto"
    enforce_eager: bool = False
    prefix_caching: bool = True
    kv_cache_memory_bytes: int | None = None

    @property
    def gpus(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    @property
    def expert_gpus(self) -> int:
        """The GPUs of a pipeline stage that share a layer's experts, whole ones or slices: those of all data parallel
        ranks (0.33, FusedMoEParallelConfig.make)."""
        return self.tensor_parallel_size * self.data_parallel_size

    @property
    def tokens_divided(self) -> bool:
        """Whether each tensor parallel rank brings its own part of the tokens to the experts (0.33,
        ParallelConfig.use_sequence_parallel_moe, with the default all2all backend)."""
        return self.enable_expert_parallel and self.tensor_parallel_size > 1 and self.data_parallel_size > 1

    @property
    def batches_in_flight(self) -> int:
        """Batches scheduled at once: one a pipeline stage and one ahead (VllmConfig.max_concurrent_batches, 0.33)."""
        return 2 if self.pipeline_parallel_size == 1 else self.pipeline_parallel_size

    def batched_tokens(self, gpu: Gpu, model_len: int) -> int:
        """Tokens a step may hold; by default what the card's memory gives (0.33, EngineArgs.get_batch_defaults)."""
        if self.max_num_batched_tokens is not None:
            return self.max_num_batched_tokens
        memory = gpu.memory_bytes / GIB
        if memory >= 160:
            tokens = 16384
        elif memory >= 70 and "a100" not in gpu.name.lower():
            tokens = 8192
        else:
            tokens = 2048
        return min(tokens, self.sequences(gpu) * model_len)

    def sequences(self, gpu: Gpu) -> int:
        """Sequences a step may hold, by the same rule."""
        if self.max_num_seqs is not None:
            return self.max_num_seqs
        large = gpu.memory_bytes >= 70 * GIB and "a100" not in gpu.name.lower()
        chosen = 1024 if large else 256
        return min(chosen, self.max_num_batched_tokens or chosen)


def field_of(setting: str) -> str:
    """The service's field that a setting comes from; most have its name."""
    return OWNED_OPTIONS.get(setting.replace("_", "-"), setting)


def settings_of(service: Service) -> Settings:
    """The settings of a service: its fields, and the options beside them that matter here."""
    options = service.options
    return Settings(
        tensor_parallel_size=service.tensor_parallel_size,
        pipeline_parallel_size=service.pipeline_parallel_size,
        data_parallel_size=service.data_parallel_size,
        enable_expert_parallel=service.expert_parallel,
        max_model_len=service.max_model_len,
        gpu_memory_utilization=service.gpu_memory_utilization,
        kv_cache_dtype=service.kv_cache_dtype,
        quantization=service.quantization,
        max_num_batched_tokens=_whole(options.get("max-num-batched-tokens")),
        max_num_seqs=_whole(options.get("max-num-seqs")),
        dtype=service.dtype,
        enforce_eager=options.get("enforce-eager") is True,
        prefix_caching=service.prefix_caching,
        kv_cache_memory_bytes=_whole(options.get("kv-cache-memory-bytes")),
    )


def _whole(value: object) -> int | None:
    """A positive whole number, or None: what is wrong with others is the contract's to say."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
