"""When a model does not fit: the shortest list of changes that makes it fit, best first, each with its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from vllm_fleet.planner.memory import Estimate, Subject, estimate, longest_model_len
from vllm_fleet.planner.quantization import Format, Quantization
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.split import split_problems
from vllm_fleet.schema.gpu import Gpu

SHORTEST_USEFUL = 2048
"""Nobody is helped by a context shorter than this."""

_ROUNDED_TO = 1024
_CAUTION = 0.95
"""The planner's own error must not make a suggested context too long."""

_GPUS_OF_A_HOST = 8
_CHANGES = ("context", "kv", "quantize", "gpus")
"""The kinds of change, best first."""

AWQ = Quantization("awq", (((), Format(4, 128, scale_bytes=2, zero_points=True, asymmetric=True)),))
"""A 4-bit checkpoint with groups of 128, as AWQ and GPTQ checkpoints are made."""


@dataclass(frozen=True)
class Change:
    """One thing to set differently, as an operator writes it, and what is planned then."""

    text: str
    subject: Subject
    settings: Settings


@dataclass(frozen=True)
class Remedy:
    """Changes that together make the model fit, and what it is then."""

    changes: tuple[str, ...]
    estimate: Estimate


def remedies(found: Estimate, most: int = 4) -> list[Remedy]:
    """The shortest lists of changes that make it fit; empty where not even all of them do.

    Where all of those want more GPUs, the shortest list without comes after them: one may not have more.
    """
    shortest = _shortest(found, _CHANGES)
    if shortest and all(each.estimate.settings.gpus > found.settings.gpus for each in shortest):
        shortest += _shortest(found, _CHANGES[:-1])
    return shortest[:most]


def _shortest(found: Estimate, kinds: tuple[str, ...]) -> list[Remedy]:
    for count in range(1, len(kinds) + 1):
        fitting = [remedy for chosen in combinations(kinds, count) for remedy in _tried(found, chosen)]
        if fitting:
            return fitting
    return []


def _tried(found: Estimate, kinds: tuple[str, ...]) -> Iterator[Remedy]:
    subjects: list[tuple[Subject, Settings, tuple[str, ...]]] = [(found.subject, found.settings, ())]
    for kind in kinds:
        if kind == "context":
            continue  # last, for its length depends on the others
        subjects = [
            (change.subject, change.settings, (*texts, change.text))
            for subject, settings, texts in subjects
            for change in _changes(kind, subject, settings, found.gpu)
        ]
    for subject, settings, texts in subjects:
        made = estimate(subject, settings, found.gpu)
        if "context" not in kinds:
            if made.fits:
                yield Remedy(texts, made)
                return  # the fewest GPUs that do
            continue
        length = int(longest_model_len(made) * _CAUTION) // _ROUNDED_TO * _ROUNDED_TO
        if SHORTEST_USEFUL <= length < made.max_model_len:
            shorter = estimate(subject, replace(settings, max_model_len=length), found.gpu)
            if shorter.fits:
                yield Remedy((f"max_model_len={length}", *texts), shorter)
                return


def _changes(kind: str, subject: Subject, settings: Settings, gpu: Gpu) -> Iterator[Change]:
    match kind:
        case "kv" if settings.kv_cache_dtype == "auto" and gpu.fp8:
            yield _set(subject, replace(settings, kv_cache_dtype="fp8"), "kv_cache_dtype", "fp8")
        case "quantize" if subject.quantization is None and settings.quantization is None:
            if gpu.fp8:
                yield _set(subject, replace(settings, quantization="fp8_per_tensor"), "quantization", "fp8_per_tensor")
            else:
                small = replace(subject, quantization=AWQ, checkpoint_bytes=None)
                yield Change("a 4-bit (AWQ or GPTQ) checkpoint of the model", small, settings)
        case "gpus":
            yield from _more_gpus(subject, settings)


def _more_gpus(subject: Subject, settings: Settings) -> Iterator[Change]:
    """More GPUs of a host first, then more hosts: tensor parallel inside, pipeline parallel between them."""
    for size in (2, 4, 8):
        wider = replace(settings, tensor_parallel_size=size)
        if size > settings.tensor_parallel_size and not split_problems(subject, wider):
            yield _set(subject, wider, "tensor_parallel_size", size)
    widest = max(settings.tensor_parallel_size, _widest(subject, settings))
    for hosts in (2, 4):
        if hosts > settings.pipeline_parallel_size:
            longer = replace(settings, tensor_parallel_size=widest, pipeline_parallel_size=hosts)
            if not split_problems(subject, longer):
                text = f"tensor_parallel_size={widest} and pipeline_parallel_size={hosts}"
                yield Change(text, subject, longer)


def _widest(subject: Subject, settings: Settings) -> int:
    sizes = (1, 2, 4, _GPUS_OF_A_HOST)
    fine = [size for size in sizes if not split_problems(subject, replace(settings, tensor_parallel_size=size))]
    return max(fine, default=1)


def _set(subject: Subject, settings: Settings, field: str, value: object) -> Change:
    shown = f'"{value}"' if isinstance(value, str) else value
    return Change(f"{field}={shown}", subject, settings)
