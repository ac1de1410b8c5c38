"""Prometheus' text format, version 0.0.4 (Prometheus documentation, "Exposition formats").

prometheus_client makes and writes the same samples in 8 to 10 times the time (`python -m bench.nvml_exporter` compares
them: 10 against 1 microsecond a sample): for eight GPUs with NVLinks 15 ms a round, more than all else that the
exporter does itself. The tests read this text with its parser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Sample = tuple[str, str, float]
"""A family's name, labels as `labels` writes them, and the value."""


@dataclass(frozen=True)
class Family:
    """Metrics of one name."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()
    """Besides `gpu` and `uuid`."""


def labels(**values: object) -> str:
    """`gpu="0",uuid="GPU-..."`, escaped."""
    return ",".join(f'{name}="{_escaped(str(value))}"' for name, value in values.items())


def joined(*some: str) -> str:
    """Several of them as one."""
    return ",".join(filter(None, some))


def exposition(families: Mapping[str, Family], samples: Iterable[Sample]) -> str:
    """The text of all samples, in the order of the families; one without samples is left out."""
    lines: dict[str, list[str]] = {}
    for name, marks, value in samples:
        lines.setdefault(name, []).append(f"{name}{{{marks}}} {value}\n" if marks else f"{name} {value}\n")
    written = []
    for name, family in families.items():
        if name in lines:
            written += [f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n", *lines[name]]
    return "".join(written)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
