"""The metrics that alerts and dashboards ask for, against what a version exposes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vllm_fleet.engine.contract import removed
from vllm_fleet.engine.contract.snapshot import Snapshot
from vllm_fleet.engine.contract.values import meant
from vllm_fleet.schema.errors import Problem

_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gauge": ("",),
    "": ("", "_total", "_bucket", "_sum", "_count"),
}
"""The series of a metric by its kind, as prometheus_client exposes them."""


def series(snapshot: Snapshot) -> set[str]:
    """Every series of `/metrics`, without labels."""
    return {name + suffix for name, kind in snapshot.metrics.items() for suffix in _SUFFIXES[kind]}


def check(snapshot: Snapshot, used: Mapping[str, str]) -> Iterator[Problem]:
    """Series that the version does not have. `used`: where each is asked for, by its name."""
    known = series(snapshot)
    for name, path in used.items():
        if name.startswith("vllm:") and name not in known:
            yield Problem(path, f"vLLM {snapshot.version} exposes no {name}", _fix(name, known))


def _fix(name: str, known: set[str]) -> str:
    """The metric's name today, with the same suffix."""
    for suffix in ("", "_bucket", "_sum", "_count"):
        if name.endswith(suffix) and (today := removed.METRICS.get(name.removesuffix(suffix) if suffix else name)):
            return "use " + " or ".join(f"{one}{suffix}" for one in today.split(" or "))
    return meant(name, sorted(known))
