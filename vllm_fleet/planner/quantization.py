"""How many bytes a matrix takes in each format, and which matrices a checkpoint quantizes.

Layouts are those that vLLM 0.33 holds after loading (`model_executor/layers/quantization/*`), scales and zero points
included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase as fnmatch
from functools import cached_property
from typing import Any, Literal

from vllm_fleet.planner.model_config import UnsizedError
from vllm_fleet.schema import ConfigError

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4, "auto": 2}

Compute = Literal["fp16", "fp8", "int8", "fp4"]


@dataclass(frozen=True)
class Format:
    """How the weights of one kind of matrix are stored."""

    bits: int
    group: int = 0
    """Inputs that share a scale; 0: one scale an output (or less)."""
    block: int = 0
    """Side of the square that shares a scale (DeepSeek's FP8)."""
    scale_bytes: int = 4
    zero_points: bool = False
    """Whether a zero point is stored beside each scale."""
    asymmetric: bool = False
    """Whether the kernels use it."""
    compute: Compute = "fp16"
    """What the tensor cores multiply in: fp16 where weights are expanded first (weight-only formats)."""

    @property
    def microscaled(self) -> bool:
        """MXFP4: 32 numbers share a scale of one byte."""
        return self.bits == 4 and self.group == 32 and self.scale_bytes == 1

    def weight_bytes(self, inputs: int, outputs: int) -> int:
        """One matrix of `outputs` x `inputs`."""
        if self.block:
            scales = -(-inputs // self.block) * -(-outputs // self.block)
        elif self.group:
            scales = -(-inputs // self.group) * outputs
        else:
            scales = outputs
        zeros = scales * self.bits // 8 if self.zero_points else 0
        return inputs * outputs * self.bits // 8 + scales * self.scale_bytes + zeros


@dataclass(frozen=True)
class Quantization:
    """A checkpoint's quantization: a format for some matrices, and names of those that stay as they are."""

    method: str
    formats: tuple[tuple[tuple[str, ...], Format], ...]
    """(targets, format); the first whose target fits a matrix counts. No targets: all."""
    ignored: tuple[str, ...] = ()
    experts_only: bool = False
    head: bool = False
    """Whether the output head is quantized too."""

    def format_of(self, name: str, expert: bool = False) -> Format | None:
        """The format of the matrix with this name in the checkpoint, None where it is not quantized."""
        if (name, expert) not in self._found:
            self._found[name, expert] = self._find(name, expert)
        return self._found[name, expert]

    def _find(self, name: str, expert: bool) -> Format | None:
        names = _names_of(name)
        if (self.experts_only and not expert) or any(map(self._exceptions.mean, names)):
            return None
        return next((form for targets, form in self._targets if targets is None or any(map(targets.mean, names))), None)

    @cached_property
    def _found(self) -> dict[tuple[str, bool], Format | None]:
        """What was asked before: a plan asks for each matrix dozens of times, and the lists are long."""
        return {}

    @cached_property
    def _exceptions(self) -> _Names:
        return _Names(self.ignored)

    @cached_property
    def _targets(self) -> tuple[tuple[_Names | None, Format], ...]:
        return tuple(
            (None if not targets or "Linear" in targets else _Names(targets), form) for targets, form in self.formats
        )

    @property
    def format(self) -> Format:
        return self.formats[0][1]


_ON_LOAD_FORMATS = {
    "fp8_per_tensor": Format(8, compute="fp8"),
    "fp8_per_channel": Format(8, compute="fp8"),
    "fp8_per_block": Format(8, block=128, compute="fp8"),
    "fp8": Format(8, compute="fp8"),  # the old name of fp8_per_tensor
    "mxfp8": Format(8, group=32, scale_bytes=1, compute="fp8"),
    "int8_per_channel_weight_only": Format(8),
    "nvfp4_per_token": Format(4, group=16, scale_bytes=1, compute="fp4"),
    "bitsandbytes": Format(4, group=64),
}
ON_LOAD: dict[str, Quantization] = {name: Quantization(name, (((), form),)) for name, form in _ON_LOAD_FORMATS.items()}
"""What `--quantization` makes of an unquantized checkpoint while it loads (0.33, config/quantization.py)."""


def parse_quantization(values: dict[str, Any], name: str) -> Quantization:
    """The quantization of a config.json's `quantization_config`.

    Raises ConfigError, one line, for a method the planner has no sizes for, or one whose numbers make no sense.
    """
    method = str(values.get("quant_method") or values.get("quant_algo") or "").lower()
    path = f"{name}.quantization_config"
    ignored = _names(values, "modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules")
    match method:
        case "awq" | "awq_marlin":
            bits, group = (
                _bits(values, path, ("bits", "w_bit"), 4),
                _group(values, path, ("group_size", "q_group_size")),
            )
            return _all(method, Format(bits, group, scale_bytes=2, zero_points=True, asymmetric=True), ignored)
        case "gptq" | "gptq_marlin" | "auto-round" | "auto_round" | "intel/auto-round":
            bits, group = _bits(values, path, ("bits",), 4), _group(values, path, ("group_size",))
            symmetric = values.get("sym", True) is not False
            form = Format(bits, group, scale_bytes=2, zero_points=True, asymmetric=not symmetric)
            made = _all(method, form, ignored)
            return replace(made, head=values.get("lm_head") is True)
        case "fp8" | "fbgemm_fp8":
            return _all(method, Format(8, block=_block(values, path, "weight_block_size"), compute="fp8"), ignored)
        case "mxfp4" | "gpt_oss_mxfp4":
            form = Format(4, group=32, scale_bytes=1)
            return Quantization("mxfp4", (((), form),), ignored, experts_only=True)
        case "compressed-tensors":
            return _compressed_tensors(values, path, ignored)
        case "bitsandbytes":
            eight = values.get("load_in_8bit") is True or values.get("_load_in_8bit") is True
            skipped = _names(values, "llm_int8_skip_modules")
            return _all(method, Format(8, compute="int8") if eight else Format(4, group=64), ignored + skipped)
        case "modelopt" | "modelopt_fp4" | "nvfp4" | "fp4":
            four = "4" in str(values.get("quant_algo", "")) + method
            form = Format(4, group=16, scale_bytes=1, compute="fp4") if four else Format(8, compute="fp8")
            return _all(method, form, ignored)
        case _:
            raise UnsizedError(
                f"{path}.quant_method: {method or 'nothing'!r} has no sizes in the planner; give the directory "
                "with the weights (awq, gptq, fp8, compressed-tensors, bitsandbytes, mxfp4 and modelopt are known)"
            )


def _compressed_tensors(values: dict[str, Any], path: str, ignored: tuple[str, ...]) -> Quantization:
    groups = values.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise ConfigError(f"{path}.config_groups: is missing; take the config.json that the checkpoint came with")
    formats = []
    for key, group in groups.items():
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            raise ConfigError(f"{path}.config_groups.{key}.weights: is missing; take the checkpoint's own config.json")
        where = f"{path}.config_groups.{key}.weights"
        targets = _names(group, "targets")
        formats.append((targets, _weights_format(weights, bool(group.get("input_activations")), where)))
    return Quantization("compressed-tensors", tuple(formats), ignored)


def _weights_format(weights: dict[str, Any], activations: bool, path: str) -> Format:
    bits = _bits(weights, path, ("num_bits",), 8)
    kind = "float" if weights.get("type") == "float" else "int"
    group = _group(weights, path, ("group_size",)) if weights.get("strategy") in ("group", "tensor_group") else 0
    side = _block(weights, path, "block_structure") if weights.get("strategy") == "block" else 0
    if kind == "float" and bits == 4:
        return Format(4, group or 16, scale_bytes=1, compute="fp4" if activations else "fp16")
    if bits == 8 and activations:
        return Format(8, group, side, compute="fp8" if kind == "float" else "int8")
    asymmetric = weights.get("symmetric") is False
    return Format(bits, group, side, scale_bytes=2, zero_points=asymmetric, asymmetric=asymmetric)


def _all(method: str, form: Format, ignored: tuple[str, ...]) -> Quantization:
    return Quantization(method, (((), form),), ignored)


def _bits(values: dict[str, Any], path: str, keys: tuple[str, ...], default: int) -> int:
    bits = next((values[key] for key in keys if key in values), default)
    if bits not in (2, 3, 4, 8):
        raise ConfigError(f"{path}.{keys[0]}: {bits!r} is no width of weights; it is 2, 3, 4 or 8")
    return int(bits)


def _group(values: dict[str, Any], path: str, keys: tuple[str, ...]) -> int:
    """The group size; -1 says one scale an output, which is 0 here."""
    size = next((values[key] for key in keys if values.get(key) is not None), -1)
    if not isinstance(size, int) or isinstance(size, bool) or size < -1 or size > 2**20:
        raise ConfigError(f"{path}.{keys[0]}: {size!r} is no group size; it is -1 or 32 to 1024")
    return max(size, 0)


def _block(values: dict[str, Any], path: str, key: str) -> int:
    """The side of the square that shares a scale, 0 where nothing is said."""
    block = values.get(key)
    if block is None:
        return 0
    side = block[0] if isinstance(block, list) and block else None
    if not isinstance(side, int) or isinstance(side, bool) or block != [side, side] or not 1 <= side <= 2**20:
        raise ConfigError(f"{path}.{key}: {block!r} is no square; it is two sizes like [128, 128]")
    return side


def _names(values: dict[str, Any], *keys: str) -> tuple[str, ...]:
    found: list[str] = []
    for key in keys:
        listed = values.get(key)
        if isinstance(listed, list):
            found += [str(entry) for entry in listed]
    return tuple(found)


_OTHER_NAMES = {
    "q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "shared_experts": "shared_expert",
}  # fmt: skip
"""What some checkpoints call a matrix, or the fused one that holds it."""


def _names_of(name: str) -> list[str]:
    other = ".".join(_OTHER_NAMES.get(part, part) for part in name.split("."))
    return [name, other] if other != name else [name]


class _Names:
    """A list of matrices: parts of names (`mlp.gate`), with wildcards (`model.layers.*.self_attn`), or `re:...`."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._plain = {".".join(_from_layers(entry)) for entry in entries if "*" not in entry}
        self._wild = [_from_layers(entry) for entry in entries if "*" in entry and not entry.startswith("re:")]
        self._patterns = [made for entry in entries if entry.startswith("re:") and (made := _compiled(entry[3:]))]

    def mean(self, name: str) -> bool:
        parts = name.split(".")
        listed = self._plain or self._wild
        runs = [parts[start:end] for end in range(len(parts) + 1) for start in range(end)] if listed else []
        return (
            any(".".join(run) in self._plain for run in runs)
            or any(len(run) == len(wild) and all(map(fnmatch, run, wild)) for wild in self._wild for run in runs)
            or any(pattern.match(name) for pattern in self._patterns)
        )


def _compiled(pattern: str) -> re.Pattern[str] | None:
    if re.search(r"\)[*+{]", pattern):  # repeated groups may take for ever, and name no modules in practice
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _from_layers(entry: str) -> list[str]:
    """An entry without what stands before `layers`: multimodal checkpoints put a prefix there."""
    parts = entry.split(".")
    if "layers" in parts and not any("vis" in part or "audio" in part for part in parts):
        return parts[parts.index("layers") :]
    return parts
