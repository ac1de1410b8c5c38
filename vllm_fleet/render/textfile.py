"""Metrics that a deploy itself knows, in files that the node exporter shows with its own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from vllm_fleet import paths
from vllm_fleet.render.files import File

Family = tuple[str, str, Sequence[tuple[dict[str, str], float]]]
"""A gauge's name and help, and its samples as (labels, value)."""


def textfile(name: str, *families: Family) -> File:
    """The file; a family without samples is left out."""
    registry = CollectorRegistry()
    for family, help_text, samples in families:
        if samples:
            gauge = Gauge(family, help_text, [*samples[0][0]], registry=registry)
            for labels, value in samples:
                gauge.labels(**labels).set(value)
    return File(f"{paths.TEXTFILES}/vllm-fleet-{name}.prom", generate_latest(registry).decode())
