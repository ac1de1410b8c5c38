"""Options that vLLM refuses together, or that do nothing alone."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.schema.errors import Problem


def tool_choice(engine: Engine) -> Iterator[Problem]:
    """validate_parsed_serve_args in entrypoints/common/cli_args.py (0.33), and parser/parser_manager.py there."""
    auto, parser = engine.get("enable-auto-tool-choice"), engine.get("tool-call-parser")
    if auto and not parser:
        yield engine.problem(
            "enable-auto-tool-choice", "needs tool-call-parser", "add the parser of the model's family"
        )
    if parser and auto is None:
        yield engine.problem(
            "tool-call-parser",
            'requests with tools are answered 400 (tool_choice "auto")',
            "add enable-auto-tool-choice",
        )


_NEEDS = (
    ("enable-log-outputs", "enable-log-requests"),  # validate_parsed_serve_args
    ("enable-eplb", "enable-expert-parallel"),  # ParallelConfig._validate_parallel_config
    ("enable-elastic-ep", "enable-eplb"),  # ParallelConfig.__post_init__
    ("numa-bind-nodes", "numa-bind"),  # ParallelConfig._validate_parallel_config
    ("numa-bind-cpus", "numa-bind"),
    ("lora-modules", "enable-lora"),  # OpenAIServingModels loads each; the engine has no LoRA manager
    ("max-loras", "enable-lora"),  # create_engine_config builds no LoRAConfig without it: the value is not used
    ("max-lora-rank", "enable-lora"),
    ("max-cpu-loras", "enable-lora"),
)


def needs(engine: Engine) -> Iterator[Problem]:
    """An option that vLLM refuses, or does not look at, without another (vLLM 0.33, where each line says)."""
    for option, needed in _NEEDS:
        if engine.get(option) not in (None, False) and not engine.get(needed):
            yield engine.problem(option, f"needs {needed}", f"add {needed}, or remove this")


_EXCLUDES = (
    ("enable-per-request-metrics", "disable-log-stats"),  # validate_parsed_serve_args
    ("data-parallel-hybrid-lb", "data-parallel-external-lb"),  # create_engine_config
    ("grpc", "grpc-port"),  # validate_grpc_port_arg
)


def excludes(engine: Engine) -> Iterator[Problem]:
    """Two options that vLLM refuses together (vLLM 0.33, where each line says)."""
    for one, other in _EXCLUDES:
        if engine.get(one) and engine.get(other):
            yield engine.problem(one, f"does not go with {other}", "remove one of them")


_TWICE = (
    ("attention-backend", "attention-config", "backend"),
    ("cudagraph-capture-sizes", "compilation-config", "cudagraph_capture_sizes"),
    ("max-cudagraph-capture-size", "compilation-config", "max_cudagraph_capture_size"),
    ("enable-flashinfer-autotune", "kernel-config", "enable_flashinfer_autotune"),
    ("spec-method", "speculative-config", "method"),
    ("spec-model", "speculative-config", "model"),
    ("spec-tokens", "speculative-config", "num_speculative_tokens"),
)


def said_twice(engine: Engine) -> Iterator[Problem]:
    """create_engine_config and create_speculative_config in engine/arg_utils.py (0.33)."""
    for option, whole, key in _TWICE:
        if engine.get(option) is not None and engine.inner(whole, key) is not None:
            yield engine.problem(option, f"is also {whole}.{key}", "remove one of them")


def lora(engine: Engine) -> Iterator[Problem]:
    """LoRAConfig._validate_lora_config and LoRAParserAction (0.33)."""
    loras, on_host = engine.get("max-loras", 1), engine.get("max-cpu-loras")
    if on_host is not None and on_host < loras:
        yield engine.problem("max-cpu-loras", f"{on_host} is less than max-loras ({loras})", f"use {loras} or more")
    for module in engine.get("lora-modules") or ():
        if not _lora_module(module or ""):
            yield engine.problem(
                "lora-modules", f"{module!r} is no adapter", 'write NAME=PATH, or {"name": ..., "path": ...}'
            )


def _lora_module(text: str) -> bool:
    if "=" in text and "," not in text:
        return True
    try:
        module = json.loads(text)
    except ValueError:
        return False
    keys = set(module) if isinstance(module, dict) else set()
    return {"name", "path"} <= keys <= {"name", "path", "base_model_name"}


_WITHOUT_A_MODEL = {"ngram", "ngram_gpu", "suffix", "extract_hidden_states", "dspark"}


def speculation(engine: Engine) -> Iterator[Problem]:
    """SpeculativeConfig.__post_init__ and _verify_args (0.33); its keys and their types are checked with the option."""
    config = engine.get("speculative-config")
    if not isinstance(config, dict):
        return
    config = {key.replace("-", "_"): value for key, value in config.items()}
    method, tokens = config.get("method"), config.get("num_speculative_tokens")
    mtp = isinstance(method, str) and method.endswith("mtp")
    if "model" not in config and method not in _WITHOUT_A_MODEL and not mtp:
        yield engine.problem("speculative-config", "needs a model, or a method that has none", 'add "model": DRAFT')
    if method in _WITHOUT_A_MODEL | {"draft_model"} and tokens is None:
        yield engine.problem("speculative-config", "needs num_speculative_tokens", 'add "num_speculative_tokens": 5')
    if "tensor_parallel_size" in config:
        yield engine.problem("speculative-config.tensor_parallel_size", "is refused", "use draft_tensor_parallel_size")
    draft, target = config.get("draft_tensor_parallel_size"), engine.get("tensor-parallel-size", 1)
    if draft not in (None, 1, target):
        yield engine.problem(
            "speculative-config.draft_tensor_parallel_size", f"{draft} is neither 1 nor the model's {target}", "use 1"
        )
    lowest, highest = config.get("prompt_lookup_min"), config.get("prompt_lookup_max")
    if isinstance(lowest, int) and isinstance(highest, int) and lowest > highest:
        yield engine.problem(
            "speculative-config.prompt_lookup_min", f"{lowest} is more than prompt_lookup_max ({highest})", "lower it"
        )


def structured_outputs(engine: Engine) -> Iterator[Problem]:
    """StructuredOutputsConfig._validate_structured_output_config (0.33); the backend's name is checked with its key."""
    option = "structured-outputs-config"
    backend = engine.inner(option, "backend") or "auto"
    for key, backends in (
        ("disable_any_whitespace", ("xgrammar", "guidance")),
        ("disable_additional_properties", ("guidance",)),
    ):
        if engine.inner(option, key) and backend not in backends:
            yield engine.problem(
                f"{option}.{key}", f"does not go with backend {backend}", f'add "backend": "{backends[0]}"'
            )


def batch(engine: Engine) -> Iterator[Problem]:
    """SchedulerConfig.verify_max_model_len (0.33)."""
    tokens, sequences = engine.get("max-num-batched-tokens"), engine.get("max-num-seqs")
    length, active = engine.get("max-model-len"), engine.get("max-num-active-seqs")
    if tokens and sequences and tokens < sequences:
        yield engine.problem(
            "max-num-batched-tokens", f"{tokens} is less than max-num-seqs ({sequences})", f"use {sequences} or more"
        )
    if tokens and length and 0 < tokens < length and engine.get("enable-chunked-prefill") is False:
        yield engine.problem(
            "max-num-batched-tokens",
            f"{tokens} is less than max-model-len ({length}) with chunked prefill off",
            "raise it, or leave chunked prefill on",
        )
    if active and sequences and active > sequences:
        yield engine.problem(
            "max-num-active-seqs", f"{active} is more than max-num-seqs ({sequences})", f"use {sequences} or less"
        )
    if length and length > 0 and (threshold := engine.get("long-prefill-token-threshold", 0)) > length:
        yield engine.problem(
            "long-prefill-token-threshold", f"{threshold} is more than max-model-len ({length})", "lower it"
        )


def nodes(engine: Engine) -> Iterator[Problem]:
    """create_engine_config in engine/arg_utils.py (0.33)."""
    count, rank = engine.get("nnodes", 1), engine.get("node-rank", 0)
    sizes = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
    world = 1
    for size in sizes:
        world *= engine.get(size, 1)
    if count > 1 and world % count:
        yield engine.problem("nnodes", f"{world} GPUs do not divide over {count} hosts", "change it or a parallel size")
    if not 0 <= rank < max(count, 1):
        yield engine.problem("node-rank", f"must be from 0 to {count - 1}, got {rank}", "change it")
    local, whole = engine.get("data-parallel-size-local"), engine.get("data-parallel-size", 1)
    if local and local > whole:
        yield engine.problem(
            "data-parallel-size-local", f"{local} is more than data-parallel-size ({whole})", "lower it"
        )


def expert_balance(engine: Engine) -> Iterator[Problem]:
    """ParallelConfig._validate_parallel_config (0.33)."""
    if not engine.get("enable-eplb") and engine.inner("eplb-config", "num_redundant_experts"):
        yield engine.problem(
            "eplb-config.num_redundant_experts", "needs enable-eplb", "add enable-eplb, or remove this"
        )


_ONLY_GENERATING = ("enable-auto-tool-choice", "tool-call-parser", "reasoning-parser", "speculative-config")


def pooling(engine: Engine) -> Iterator[Problem]:
    """Pooling models have no completions: their server has no route that reads these (entrypoints/pooling, 0.33)."""
    if engine.get("runner") != "pooling":
        return
    for option in _ONLY_GENERATING:
        if engine.get(option):
            yield engine.problem(option, "is for models that generate, runner is pooling", "remove it")


def keep_alive(engine: Engine) -> Iterator[Problem]:
    """validate_parsed_serve_args (0.33)."""
    if (seconds := engine.get("sse-keep-alive-interval", 0)) < 0:
        yield engine.problem("sse-keep-alive-interval", f"must be 0 or more, got {seconds}", "use 0 for none")


RULES: tuple[Rule, ...] = (
    tool_choice,
    needs,
    excludes,
    said_twice,
    lora,
    speculation,
    structured_outputs,
    batch,
    nodes,
    expert_balance,
    pooling,
    keep_alive,
)
