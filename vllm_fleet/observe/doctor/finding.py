"""What rules look at, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Fleet, Host

Severity = Literal["error", "warning"]
"""error: it does not serve as declared, or soon will not; warning: to be mended when there is time."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Severity
    path: str
    """Host first: `gpu-1.gpu.3.ecc`."""
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.mend}"


@dataclass(frozen=True)
class Case:
    """One host as it is declared and as it is."""

    fleet: Fleet
    host: Host
    placements: tuple[Placement, ...]
    """The engines that belong here."""
    facts: Mapping[str, Any]
    """What `doctor_facts` printed there; a fact is None where the host has none or its source failed."""
    releases: Mapping[str, str]
    """The declared release of each engine, by instance."""

    def error(self, path: str, what: str, mend: str) -> Finding:
        return Finding("error", f"{self.host.name}.{path}", what, mend)

    def warning(self, path: str, what: str, mend: str) -> Finding:
        return Finding("warning", f"{self.host.name}.{path}", what, mend)

    @property
    def module(self) -> str | None:
        """The version of the loaded NVIDIA module."""
        loaded = self.facts["module"]
        return str(loaded["version"]) if loaded else None

    @property
    def gpus(self) -> list[Mapping[str, Any]]:
        """The GPUs that the fleet may use, as NVML tells of them; one that it lost has nothing but `error`."""
        found = (self.facts["nvml"] or {}).get("gpus") or []
        return [gpu for gpu in found if gpu["index"] < self.host.gpus]

    def unread(self, fact: str) -> bool:
        """Whether a fact is None because its source failed, which is a finding of its own."""
        return fact in self.facts["unread"]


Rule = Callable[[Case], Iterator[Finding]]


def same_version(one: str, other: str) -> bool:
    """Whether driver versions agree; nvidia-smi leaves the last part out (`NVML library version: 535.161`)."""
    return all(a == b for a, b in zip(one.split("."), other.split("."), strict=False))


def some(names: list[str], shown: int = 3) -> str:
    """A list that stays short: `a, b, c and 9 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
