"""Service level objectives as recording rules: how fast each service uses up what it may fail.

Rates over five minutes are recorded each minute; longer windows are sums over those. So a window of three days reads
4320 samples, not every scrape of every replica's histogram, and busy hours still weigh more than quiet ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vllm_fleet.observe import metrics
from vllm_fleet.schema import Service, Slo

WINDOWS = ("5m", "30m", "1h", "6h", "3d")
"""Of burn rates; Prometheus durations."""


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus computes and keeps."""

    name: str
    query: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """One promise of one service."""

    name: str
    events: str
    bad: str
    """PromQL, both a second."""
    share: float
    """Of events that must be good."""


def recordings(services: Iterable[Service]) -> list[Recording]:
    """All, in the order in which they build on each other."""
    of_services = [rule for service in services for rule in _of_service(service.name, service.slo)]
    return [*of_services, *(Recording(f"{metrics.SLO_BURN}{window}", _burn(window)) for window in WINDOWS)]


def objectives(service: str, slo: Slo) -> tuple[Objective, ...]:
    """What is promised of a service, and how it is counted."""
    return (
        _latency("ttft", metrics.TTFT, service, slo.ttft_seconds, slo.ttft_objective),
        _latency("itl", metrics.ITL, service, slo.itl_seconds, slo.itl_objective),
        _errors(service, slo.error_objective),
    )


def _of_service(service: str, slo: Slo) -> Iterator[Recording]:
    for objective in objectives(service, slo):
        labels = {metrics.SERVICE: service, metrics.SLO: objective.name}
        yield Recording(metrics.SLO_EVENTS, objective.events, labels)
        yield Recording(metrics.SLO_BAD_EVENTS, objective.bad, labels)
        yield Recording(metrics.SLO_BUDGET, f"vector({1 - objective.share:g})", labels)


def _latency(name: str, histogram: str, service: str, seconds: float, share: float) -> Objective:
    events = _rate(f'{histogram}_count{{service="{service}"}}')
    good = _rate(f'{histogram}_bucket{{service="{service}", le="{seconds}"}}')
    return Objective(name, events, f"{events} - {good}", share)


def _errors(service: str, share: float) -> Objective:
    """As the gateway's clients see them: an engine that is gone answers nothing that it could count."""
    responses = f'{metrics.BACKEND_RESPONSES}{{proxy="{service}"'
    return Objective("errors", _rate(f"{responses}}}"), _rate(f'{responses}, code="5xx"}}'), share)


def _rate(series: str) -> str:
    return f"sum(rate({series}[5m]))"


def _burn(window: str) -> str:
    bad, events = metrics.SLO_BAD_EVENTS, metrics.SLO_EVENTS
    if window != "5m":
        bad, events = f"sum_over_time({bad}[{window}])", f"sum_over_time({events}[{window}])"
    return f"{bad} / {events} / {metrics.SLO_BUDGET}"
