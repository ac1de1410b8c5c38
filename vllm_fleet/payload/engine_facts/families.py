"""Every family there is, and facts as samples of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge

from .watch import Facts

OF_AN_ENGINE = ("service", "replica", "unit")
"""Labels of every sample."""


@dataclass(frozen=True)
class Family:
    """Gauges of one name."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    """Besides those of the engine."""


FACTS_TIMESTAMP = Family(
    "vllm_fleet_engine_facts_timestamp_seconds", "When the engine was last looked at, since the epoch."
)
PHASE = Family("vllm_fleet_engine_phase_info", "How far its start got, or how it ended.", ("phase",))
RUNNING = Family("vllm_fleet_engine_running_info", "The release that its process was started with.", ("release",))
STARTED = Family("vllm_fleet_engine_start_timestamp_seconds", "When its process was started, since the epoch.")
KV_CACHE = Family(
    "vllm_fleet_kv_cache_tokens", "Tokens that its KV cache holds, by data parallel rank (engine).", ("engine",)
)
PROBE_SUCCESS = Family("vllm_fleet_probe_success", "Whether it answered the last one-token completion in time.")
PROBE_SECONDS = Family("vllm_fleet_probe_seconds", "How long that took, or how long it was waited for.")
PROBE_TIMESTAMP = Family("vllm_fleet_probe_timestamp_seconds", "When it was asked for, since the epoch.")
PROBE_FAILURE = Family("vllm_fleet_probe_failure_info", "Why there was no answer.", ("reason",))

FAMILIES = (
    *(FACTS_TIMESTAMP, PHASE, RUNNING, STARTED, KV_CACHE),
    *(PROBE_SUCCESS, PROBE_SECONDS, PROBE_TIMESTAMP, PROBE_FAILURE),
)

_Sample = tuple[Family, dict[str, str], float]


def registry(facts: Iterable[Facts]) -> CollectorRegistry:
    """The samples of some engines, and nothing of those that are gone."""
    collected = CollectorRegistry()
    gauges = {
        family: Gauge(family.name, family.help, (*OF_AN_ENGINE, *family.labels), registry=collected)
        for family in FAMILIES
    }
    for each in facts:
        engine = each.engine
        of_engine = {"service": engine.service, "replica": str(engine.replica), "unit": engine.unit}
        for family, labels, value in _samples(each):
            gauges[family].labels(**of_engine, **labels).set(value)
    return collected


def _samples(facts: Facts) -> Iterator[_Sample]:
    yield FACTS_TIMESTAMP, {}, facts.at
    if facts.phase is not None:
        yield PHASE, {"phase": facts.phase}, 1
    if facts.release is not None:
        yield RUNNING, {"release": facts.release}, 1
    if facts.started is not None:
        yield STARTED, {}, facts.started
    for engine, tokens in facts.kv_tokens.items():
        yield KV_CACHE, {"engine": engine}, tokens
    if facts.probe is not None:
        answer = facts.probe.answer
        yield PROBE_SUCCESS, {}, answer.ok
        yield PROBE_SECONDS, {}, round(facts.probe.seconds, 3)
        yield PROBE_TIMESTAMP, {}, facts.probe.at
        if not answer.ok:
            yield PROBE_FAILURE, {"reason": answer.why}, 1
