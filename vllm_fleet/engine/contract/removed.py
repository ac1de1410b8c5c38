"""What articles still recommend and vLLM no longer takes: what happened to it, and what to write today.

Looked at only for names that the version in question does not have, so a name that comes back is not refused.
Sources: vLLM's release notes and the parsers of 0.26, 0.32 and 0.33; shared by the seeds' test data.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gone:
    """A name that vLLM had."""

    what: str
    instead: str


_SPECULATIVE = "is gone: speculation is one JSON object"
_EXAMPLE = (
    '--speculative-config \'{"method": "draft_model", "model": "DRAFT", "num_speculative_tokens": 5}\''
    ' (on a service: options={"speculative-config": {...}})'
)
_NGRAM = '--speculative-config \'{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}\''


def _speculative(key: str) -> Gone:
    return Gone(_SPECULATIVE, f"put {key} into --speculative-config")


def _dropped(why: str) -> Gone:
    return Gone(f"is gone: {why}", "remove it")


_ADAPTERS = _dropped("prompt adapters were removed, LoRA (--enable-lora) stayed")
_MULTI_STEP = _dropped("the engine schedules asynchronously by itself")
_TOKENIZER_POOL = Gone("is gone", "use --renderer-num-workers, or remove it")
_PARTIAL_PREFILLS = _dropped("the scheduler chunks prefills by itself (--long-prefill-token-threshold bounds one)")
_EPLB = "is gone: expert load balancing is one JSON object"

OPTIONS: dict[str, Gone] = {
    # speculative decoding
    "speculative-model": Gone(_SPECULATIVE, f"use {_EXAMPLE}"),
    "num-speculative-tokens": Gone(_SPECULATIVE, f"use {_EXAMPLE}"),
    "speculative-draft-tensor-parallel-size": _speculative('"draft_tensor_parallel_size"'),
    "speculative-max-model-len": _speculative('"max_model_len"'),
    "speculative-model-quantization": _speculative('"quantization"'),
    "speculative-disable-by-batch-size": _speculative('"num_speculative_tokens_per_batch_size"'),
    "speculative-disable-mqa-scorer": _dropped("there is one scorer"),
    "spec-decoding-acceptance-method": _speculative('"rejection_sample_method"'),
    "typical-acceptance-sampler-posterior-threshold": _speculative('"rejection_sample_method"'),
    "typical-acceptance-sampler-posterior-alpha": _speculative('"rejection_sample_method"'),
    "disable-logprobs-during-spec-decoding": _dropped("logprobs come with speculation"),
    "ngram-prompt-lookup-max": Gone(_SPECULATIVE, f"use {_NGRAM}"),
    "ngram-prompt-lookup-min": Gone(_SPECULATIVE, f"use {_NGRAM}"),
    "num-lookahead-slots": _dropped("the scheduler reserves them by itself"),
    # memory and scheduling
    "use-v2-block-manager": _dropped("there is one block manager"),
    "swap-space": Gone(
        "is gone: nothing swaps to the host",
        "remove it, or keep KV cache in the host's memory with --kv-offloading-size GIB",
    ),
    "preemption-mode": _dropped("preempted requests are always computed again"),
    "num-scheduler-steps": _MULTI_STEP,
    "multi-step-stream-outputs": _MULTI_STEP,
    "use-async-output": _MULTI_STEP,
    "disable-async-output-proc": Gone("is gone", "use --no-async-scheduling"),
    "scheduler-delay-factor": _dropped("requests are scheduled as they come"),
    "max-num-partial-prefills": _PARTIAL_PREFILLS,
    "max-long-partial-prefills": _PARTIAL_PREFILLS,
    "max-paddings": _dropped("batches are not padded"),
    "max-seq-len-to-capture": Gone("is gone", "use --max-cudagraph-capture-size, which counts tokens of a batch"),
    "max-context-len-to-capture": Gone("is gone", "use --max-cudagraph-capture-size, which counts tokens of a batch"),
    "cuda-graph-sizes": Gone("has a new name", "use --cudagraph-capture-sizes"),
    "full-cuda-graph": Gone("is gone", 'use --compilation-config \'{"cudagraph_mode": "FULL"}\''),
    # models and quantization
    "task": Gone(
        "is gone",
        "use --runner pooling for embeddings, scores and rewards (--convert embed or classify for a generating model)",
    ),
    "override-pooler-config": Gone("has a new name", "use --pooler-config"),
    "override-neuron-config": Gone("is gone", "use --additional-config"),
    "rope-scaling": Gone("is gone", "use --hf-overrides '{\"rope_parameters\": {...}}'"),
    "rope-theta": Gone("is gone", 'use --hf-overrides \'{"rope_parameters": {"rope_theta": ...}}\''),
    "quantization-param-path": Gone("is gone: scales come with the checkpoint", "use --kv-cache-dtype fp8 alone"),
    "calculate-kv-scales": Gone(
        "is gone: scales come with the checkpoint", "remove it: llm-compressor puts them there"
    ),
    "load-in-4bit": Gone("is not an option of vLLM", "serve a quantized checkpoint; it says so itself"),
    "load-in-8bit": Gone("is not an option of vLLM", "serve a quantized checkpoint, or use --quantization fp8"),
    "qlora-adapter-name-or-path": Gone("is gone", "use --enable-lora --lora-modules NAME=PATH"),
    "device": Gone("is gone: the image or wheel decides", "remove it"),
    "override-attention-dtype": _dropped("it was for ROCm's Triton attention"),
    "enable-bf16x3-router-gemm": _dropped("vLLM chooses the router's kernel"),
    # LoRA
    "lora-extra-vocab-size": _dropped("adapters cannot add tokens"),
    "long-lora-scaling-factors": _dropped("long LoRA was removed"),
    "enable-lora-bias": _dropped("biases of adapters are not used"),
    "enable-prompt-adapter": _ADAPTERS,
    "max-prompt-adapters": _ADAPTERS,
    "max-prompt-adapter-token": _ADAPTERS,
    "prompt-adapters": _ADAPTERS,
    # structured outputs and reasoning
    "guided-decoding-backend": Gone(
        "has a new name",
        "use --structured-outputs-config.backend auto (or xgrammar, guidance, outlines), "
        'on a service: options={"structured-outputs-config": {"backend": "auto"}}',
    ),
    "guided-decoding-disable-fallback": _dropped("a named backend is used alone"),
    "guided-decoding-disable-any-whitespace": Gone(
        "has a new name", 'use --structured-outputs-config \'{"backend": "xgrammar", "disable_any_whitespace": true}\''
    ),
    "guided-decoding-disable-additional-properties": Gone(
        "has a new name",
        'use --structured-outputs-config \'{"backend": "guidance", "disable_additional_properties": true}\'',
    ),
    "logits-processor-pattern": Gone("is gone", "use --logits-processors, which names classes"),
    "enable-reasoning": Gone("is gone: a parser turns it on", "use --reasoning-parser NAME alone"),
    # server
    "enable-metrics": Gone("never was needed: /metrics is on", "remove it and scrape http://HOST:PORT/metrics"),
    "metrics-port": Gone("is gone: /metrics is on the API's port", "remove it and scrape http://HOST:PORT/metrics"),
    "disable-log-requests": Gone("is gone: requests are not logged by default", "remove it"),
    "disable-frontend-multiprocessing": _dropped("the engine always has its own process"),
    "engine-use-ray": _dropped("the engine always has its own process"),
    "worker-use-ray": Gone("is gone", "use --distributed-executor-backend ray, or nothing on one host"),
    # several GPUs
    "enable-multimodal-encoder-data-parallel": Gone("has a new name", "use --mm-encoder-tp-mode data"),
    "num-redundant-experts": Gone(_EPLB, "use --eplb-config '{\"num_redundant_experts\": ...}'"),
    "eplb-window-size": Gone(_EPLB, "use --eplb-config '{\"window_size\": ...}'"),
    "eplb-step-interval": Gone(_EPLB, "use --eplb-config '{\"step_interval\": ...}'"),
    "eplb-log-balancedness": Gone(_EPLB, "use --eplb-config '{\"log_balancedness\": true}'"),
    # several kinds of input
    "disable-mm-preprocessor-cache": Gone("has a new name", "use --mm-processor-cache-gb 0"),
    "image-token-id": _dropped("the model's processor knows it"),
    "image-input-shape": _dropped("the model's processor knows it"),
    "vision-language-config": _dropped("the model's processor knows it"),
    # tokenizers
    "tokenizer-pool-size": _TOKENIZER_POOL,
    "tokenizer-pool-type": _TOKENIZER_POOL,
    "tokenizer-pool-extra-config": _TOKENIZER_POOL,
}
"""Options of `vllm serve` by name without dashes."""

_REQUEST = "is a field of requests and not an option"

REQUEST_FIELDS: dict[str, Gone] = {
    "guided-json": Gone(
        f"{_REQUEST}, and vLLM answers 200 and ignores it",
        'send "response_format": {"type": "json_schema", ...} or "structured_outputs": {"json": ...}',
    ),
    "guided-regex": Gone(
        f"{_REQUEST}, and vLLM answers 200 and ignores it", 'send "structured_outputs": {"regex": ...}'
    ),
    "guided-choice": Gone(
        f"{_REQUEST}, and vLLM answers 200 and ignores it", 'send "structured_outputs": {"choice": [...]}'
    ),
    "guided-grammar": Gone(
        f"{_REQUEST}, and vLLM answers 200 and ignores it", 'send "structured_outputs": {"grammar": ...}'
    ),
    "temperature": Gone(
        _REQUEST, "send it, or set a default with --override-generation-config '{\"temperature\": ...}'"
    ),
    "top-p": Gone(_REQUEST, "send it, or set a default with --override-generation-config '{\"top_p\": ...}'"),
    "max-tokens": Gone(
        _REQUEST, "send it, or set a default with --override-generation-config '{\"max_new_tokens\": ...}'"
    ),
}

_PLUGIN = "left vLLM's main package"
_FORMAT_GONE = Gone("is gone", "serve a checkpoint made by llm-compressor (FP8, W4A16), which says so itself")

_FORMATS = (
    *("aqlm", "squeezellm", "deepspeedfp", "tpu_int8", "hqq", "rtn", "ipex", "qqq", "bitblas", "gptq_bitblas"),
    *("gptq_marlin_24", "neuron_quant", "petit_nvfp4", "cpu_awq", "cpu_gptq"),
)

QUANTIZATION: dict[str, Gone] = {
    "bitsandbytes": Gone(
        _PLUGIN, "take an image or lock file with vllm-bnb-plugin, or a checkpoint that says its method itself"
    ),
    "gguf": Gone(_PLUGIN, "take an image or lock file with vllm-gguf-plugin, or the model's safetensors"),
    "ptpc_fp8": Gone("has a new name", "use fp8_per_channel"),
    "marlin": Gone("is a kernel, chosen by vLLM", "leave quantization out: the checkpoint says so itself"),
    "nvfp4": Gone("is not a name of vLLM", "use nvfp4_per_token on load; an NVFP4 checkpoint says so itself"),
    "auto-round": Gone("has a new name", "leave quantization out: the checkpoint says so itself (inc)"),
    "int8": Gone("is not a name of vLLM", "use int8_per_channel_weight_only on load"),
} | dict.fromkeys(
    _FORMATS,
    _FORMAT_GONE,
)
"""Values of --quantization."""

_ONE_ENGINE = Gone("is gone: there is one engine", "remove it")
_RAY = Gone("is gone", "remove it, or choose Ray with --distributed-executor-backend ray")
_MOE_BACKEND = Gone("is gone", "use --moe-backend flashinfer_trtllm or flashinfer_cutlass")

ENVIRONMENT: dict[str, Gone] = {
    "VLLM_USE_V1": _ONE_ENGINE,
    "VLLM_ATTENTION_BACKEND": Gone("is gone", "use --attention-backend FLASHINFER"),
    "VLLM_FLASH_ATTN_VERSION": Gone("is gone", "use --attention-config '{\"flash_attn_version\": 3}'"),
    "VLLM_USE_TRTLLM_ATTENTION": Gone("is gone", "use --attention-config '{\"use_trtllm_attention\": true}'"),
    "VLLM_USE_CUDNN_PREFILL": Gone("is gone", "use --attention-config '{\"mla_prefill_backend\": ...}'"),
    "VLLM_ALL2ALL_BACKEND": Gone("is gone", "use --all2all-backend"),
    "VLLM_TORCH_PROFILER_DIR": Gone(
        "is gone", 'use --profiler-config \'{"profiler": "torch", "torch_profiler_dir": ...}\''
    ),
    "VLLM_USE_FLASHINFER_MOE_FP8": _MOE_BACKEND,
    "VLLM_USE_FLASHINFER_MOE_FP4": _MOE_BACKEND,
    "VLLM_USE_FLASHINFER_MOE_FP16": _MOE_BACKEND,
    "VLLM_FLASHINFER_MOE_BACKEND": _MOE_BACKEND,
    "VLLM_USE_RAY_SPMD_WORKER": _RAY,
    "VLLM_USE_RAY_COMPILED_DAG": _RAY,
    "VLLM_ENGINE_ITERATION_TIMEOUT_S": Gone("is gone", "use VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS"),
    "VLLM_MM_HASHER_ALGORITHM": Gone("is gone", "use --mm-hasher-algorithm"),
    "VLLM_PREFIX_CACHE_RETENTION_INTERVAL": Gone("is gone", "use --prefix-cache-retention-interval"),
}

METRICS: dict[str, str] = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:cpu_cache_usage_perc": "vllm:kv_offload_cpu_cache_usage_perc",
    "vllm:num_requests_swapped": "vllm:num_preemptions_total",
    "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds or "
    "vllm:request_time_per_output_token_seconds",
    "vllm:gpu_prefix_cache_hit_rate": "vllm:prefix_cache_hits_total / vllm:prefix_cache_queries_total",
    "vllm:gpu_prefix_cache_hits": "vllm:prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "vllm:avg_prompt_throughput_toks_per_s": "rate(vllm:prompt_tokens_total[1m])",
    "vllm:avg_generation_throughput_toks_per_s": "rate(vllm:generation_tokens_total[1m])",
    "vllm:model_forward_time_milliseconds": "vllm:request_inference_time_seconds",
    "vllm:time_in_queue_requests": "vllm:request_queue_time_seconds",
}
"""Metrics that have another name now."""

MODELS: dict[str, str] = {
    "meta-llama/Llama-3-8B-Instruct": "meta-llama/Meta-Llama-3-8B-Instruct",
    "meta-llama/Llama-3-8B": "meta-llama/Meta-Llama-3-8B",
    "meta-llama/Llama-3-70B-Instruct": "meta-llama/Meta-Llama-3-70B-Instruct",
    "meta-llama/Llama-3-70B": "meta-llama/Meta-Llama-3-70B",
}
"""Models that articles call by a name that the hub does not have."""


def option(name: str) -> Gone | None:
    """What happened to an option of this name without dashes; also a request's field taken for one."""
    return OPTIONS.get(name) or OPTIONS.get(name.removeprefix("no-")) or REQUEST_FIELDS.get(name)
