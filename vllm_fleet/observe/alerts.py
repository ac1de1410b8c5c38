"""The alerts. One object owns an alert's query, threshold, severity, words and runbook section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vllm_fleet.observe import metrics

Severity = Literal["page", "ticket", "watchdog"]
"""page: wake someone; ticket: within the working day; watchdog: always firing, its absence is the alarm."""


@dataclass(frozen=True)
class Alert:
    """A condition someone must act on."""

    name: str
    query: str
    """PromQL of the watched value, as a dashboard would draw it."""
    comparison: Literal[">", "<", "=="]
    threshold: float
    held: str
    """How long the condition must hold before the alert fires; a Prometheus duration."""
    severity: Severity
    summary: str
    """For the person who gets it: what is so, and on what. May use `{{ $labels.NAME }}`."""

    @property
    def condition(self) -> str:
        return f"{self.query} {self.comparison} {self.threshold:g}"

    @property
    def runbook(self) -> str:
        """The section that says what to do."""
        return f"docs/runbooks.md#{self.name.lower()}"


KV_CACHE_HIGH = Alert(
    name="KvCacheHigh",
    # Not the mean: with 10 preemptions/s it stood at 0.72-0.83 while the 90th percentile was 0.97 (vLLM 0.32).
    query=f"quantile_over_time(0.9, {metrics.KV_CACHE_USAGE}[10m])",
    comparison=">",
    threshold=0.9,
    held="10m",
    severity="ticket",
    summary="{{ $labels.service }} replica {{ $labels.replica }} on {{ $labels.host }}: KV cache nearly full for "
    "20 minutes; requests will be preempted",
)

VLLM_DOWN = Alert(
    name="VllmDown",
    query=f'{metrics.UP}{{job="{metrics.VLLM}"}}',
    comparison="==",
    threshold=0,
    # longer than a restart with weights on local disk and warm compile caches; the service still answers
    held="5m",
    severity="page",
    summary="{{ $labels.service }} replica {{ $labels.replica }} on {{ $labels.host }} does not answer",
)

VLLM_SERVICE_DOWN = Alert(
    name="VllmServiceDown",
    query=f'sum by ({metrics.SERVICE}) ({metrics.UP}{{job="{metrics.VLLM}"}})',
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    summary="{{ $labels.service }}: no replica answers, clients get 503",
)

VLLM_GROUP_GAVE_UP = Alert(
    name="VllmGroupGaveUp",
    # systemd starts every other engine again and again: only a group ends in this state
    query=f'{metrics.UNIT_STATE}{{name=~"vllm-.+", state="failed"}}',
    comparison="==",
    threshold=1,
    held="1m",
    severity="page",
    summary="{{ $labels.name }} on {{ $labels.host }} has given up after failures in a row, on all hosts of its model",
)

HOST_DOWN = Alert(
    name="HostDown",
    # nothing on the host answers: an exporter that died alone is not a dead host
    query=f"max by ({metrics.HOST}) ({metrics.UP})",
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    summary="{{ $labels.host }}: nothing on it answers",
)

WATCHDOG = Alert(
    name="Watchdog",
    query="vector(1)",
    comparison=">",
    threshold=0,
    held="0s",
    severity="watchdog",
    summary="Alerts reach you. Whatever receives this must raise the alarm when it stops",
)

ALERTS = (VLLM_SERVICE_DOWN, VLLM_DOWN, VLLM_GROUP_GAVE_UP, HOST_DOWN, KV_CACHE_HIGH, WATCHDOG)
