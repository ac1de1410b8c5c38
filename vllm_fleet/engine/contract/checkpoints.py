"""Options against the checkpoint's config.json, where it is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.planner.contradictions import other_quantization, too_long
from vllm_fleet.schema.errors import Problem


def checkpoint_method(engine: Engine) -> str | None:
    """How the checkpoint is quantized, by its own word."""
    method = _dict(engine.config.get("quantization_config") or engine.text_config.get("quantization_config"))
    return method.get("quant_method")


_NEVER = re.compile(r"meta-llama/(?!.*FP8)")
"""Repositories of makers that publish no AWQ, GPTQ or other such checkpoint under their own name."""


def quantization(engine: Engine) -> Iterator[Problem]:
    """A method that vLLM knows, and the checkpoint is not of (planner/contradictions.py)."""
    given, known = engine.get("quantization"), engine.config or _NEVER.match(engine.line.model or "")
    if known and given in engine.snapshot.quantization:
        yield from _at(engine, "quantization", other_quantization(given, checkpoint_method(engine), _name(engine)))


def refused_method(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_quantization (0.33), for the checkpoint's own method; met with Llama-3.1-405B-FP8."""
    method = engine.snapshot.quantization.get(checkpoint_method(engine) or "")
    if method and method.deprecated and not engine.get("allow-deprecated-quantization"):
        yield engine.problem(
            "allow-deprecated-quantization",
            f"vLLM refuses {_name(engine)} without it: {checkpoint_method(engine)} is deprecated",
            "add it, or use a checkpoint of another method",
        )


def activation_order(engine: Engine) -> Iterator[Problem]:
    """normalize_and_validate_gptq_desc_act in layers/quantization/utils/gptq_utils.py (0.32, 0.33)."""
    own = _dict(engine.config.get("quantization_config"))
    if checkpoint_method(engine) == "gptq" and own.get("desc_act") is True and own.get("group_size") != -1:
        yield engine.problem(
            "model",
            f"{_name(engine)} has GPTQ groups in activation order (desc_act), which vLLM takes no more",
            "use a checkpoint with desc_act false or static groups",
        )


def expert_parallel(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_with_expert_parallelism (0.33)."""
    if engine.config and engine.get("enable-expert-parallel") and not _experts(engine):
        yield engine.problem("enable-expert-parallel", f"{_name(engine)} has no experts", "remove it")


def expert_balance(engine: Engine) -> Iterator[Problem]:
    """ParallelConfig._validate_parallel_config, and FusedMoEFactory in layers/fused_moe/layer.py (0.33)."""
    if not engine.get("enable-eplb"):
        return
    gpus = engine.get("tensor-parallel-size", 1) * engine.get("data-parallel-size", 1)
    if gpus == 1:
        yield engine.problem("enable-eplb", "balances experts over GPUs, and there is one", "remove it")
    experts = _experts(engine) + (engine.inner("eplb-config", "num_redundant_experts") or 0)
    if rest := experts % gpus:
        yield engine.problem(
            "enable-eplb",
            f"balances the same number of experts on each GPU, and {experts} do not divide over {gpus}",
            f'add {gpus - rest} to "num_redundant_experts" in eplb-config',
        )


def _experts(engine: Engine) -> int:
    """Experts that the router of a layer chooses from, 0 where there are none or the model is not known."""
    keys = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
    return next((count for key in keys if isinstance(count := engine.text_config.get(key), int) and count), 0)


_NOT_IN_FLOAT16 = {"gemma2", "gemma3", "gemma3_text", "glm4"}


def dtype(engine: Engine) -> Iterator[Problem]:
    """_FLOAT16_NOT_SUPPORTED_MODELS in config/model.py (0.33)."""
    kinds = {engine.config.get("model_type"), engine.text_config.get("model_type")}
    if engine.get("dtype") in ("float16", "half") and kinds & _NOT_IN_FLOAT16:
        yield engine.problem("dtype", f"{_name(engine)} is unstable in float16, and refused", "use auto or bfloat16")


def context(engine: Engine) -> Iterator[Problem]:
    """A context beyond the model's (planner/contradictions.py); a scaled RoPE is left to vLLM, its rules are many."""
    longest = engine.text_config.get("max_position_embeddings")
    rope = _dict(engine.text_config.get("rope_scaling") or engine.text_config.get("rope_parameters"))
    scaled = rope.get("rope_type", rope.get("type", "default")) not in ("default", "llama3", "mrope")
    allowed = engine.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "").lower() in ("1", "true")
    if isinstance(longest, int) and not scaled and not allowed and not engine.get("hf-overrides"):
        yield from _at(engine, "max-model-len", too_long(engine.get("max-model-len"), longest, _name(engine)))


def runner(engine: Engine) -> Iterator[Problem]:
    """ModelConfig.__post_init__ (0.33): what a model that only pools refuses."""
    names = engine.config.get("architectures") or []
    pools = bool(names) and all(name in engine.snapshot.architectures["pooling"] for name in names)
    if pools and engine.get("runner") == "generate":
        yield engine.problem("runner", f"{_name(engine)} does not generate", "use pooling")


def architecture(engine: Engine) -> Iterator[Problem]:
    """ModelRegistry (0.33); unless it is told otherwise, vLLM runs what it does not know on transformers' code."""
    names = engine.config.get("architectures") or []
    known = frozenset().union(*engine.snapshot.architectures.values())
    if names and not known & set(names) and engine.get("model-impl") == "vllm":
        yield engine.problem("model", f"vLLM {engine.snapshot.version} has no {names[0]}", "use a newer vLLM")


def _at(engine: Engine, option: str, found: Problem | None) -> Iterator[Problem]:
    """A problem of the planner at the option that has it."""
    if found:
        yield engine.problem(option, found.problem, found.fix)


def _name(engine: Engine) -> str:
    return str(engine.config.get("_name_or_path") or engine.line.model or "the model").removeprefix("/")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


RULES: tuple[Rule, ...] = (
    quantization,
    refused_method,
    activation_order,
    expert_parallel,
    expert_balance,
    dtype,
    context,
    runner,
    architecture,
)
