"""Capacity and KV cache: is there room, for how much more, and what takes it."""

from __future__ import annotations

from typing import Unpack

from grafana.queries import alert, engines, mean, quantile, rate, total, worst
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Look, Panel, Query, Row, lines, panel_of

_ENGINE = "{{service}} {{replica}} on {{host}}"
_REPLICA = ("service", "replica")
_RANK = ("service", "replica", "engine")
_TOKENS = worst(engines(metrics.KV_CACHE_TOKENS), *_RANK)
_USED = worst(engines(metrics.KV_CACHE_USAGE), *_RANK)


def _day(title: str, metric: str, **look: Unpack[Look]) -> Panel:
    query = worst(f"quantile_over_time(0.95, {engines(metric)}[1d])", "service")
    return lines(title, Query(query, "{{service}}"), **look)


def _lengths(title: str, histogram: str) -> Panel:
    return lines(
        title,
        Query(quantile(0.5, histogram, "service"), "{{service}} p50"),
        Query(quantile(0.95, histogram, "service"), "{{service}} p95"),
        Query(mean(histogram, "service"), "{{service}} mean"),
        width=12,
    )


_KV_CACHE = Row(
    "KV cache",
    (
        panel_of(
            alert("KvCacheHigh"),
            alert("KvCacheSaturated"),
            title="In use, 90th percentile of 10 minutes",
            legend=_ENGINE,
            unit="percentunit",
        ),
        lines(
            "Tokens free",
            Query(total(f"{_TOKENS} * (1 - {_USED})", *_REPLICA), "{{service}} {{replica}}"),
            description="Of those that the engine says its cache holds.",
        ),
        panel_of(
            alert("KvCacheSmallerThanPlanned"),
            title="Tokens found at the start, of those planned",
            legend=_ENGINE,
            unit="percentunit",
            nothing="None were planned",
        ),
        panel_of(alert("Preemptions"), title="Preemptions a request", legend=_ENGINE, unit="percentunit"),
        lines(
            "Prompt tokens found in the prefix cache",
            Query(
                f"{total(rate(engines(metrics.PREFIX_CACHE_HITS)), 'service')}"
                f" / {total(rate(engines(metrics.PREFIX_CACHE_QUERIES)), 'service')}",
                "{{service}}",
            ),
            unit="percentunit",
            full=1,
        ),
        panel_of(
            alert("PrefixHitCollapse"),
            title="Prefix hits, of yesterday's",
            unit="percentunit",
            nothing="Nobody asked then",
        ),
    ),
)

_QUEUE = Row(
    "Queue",
    (
        panel_of(alert("QueueGrowing"), title="Waiting", legend=_ENGINE),
        lines(
            "Waiting, by what for",
            Query(total(engines(metrics.REQUESTS_WAITING_BY_REASON), "service", "reason"), "{{service}} {{reason}}"),
            description="`capacity`: room in the KV cache.",
        ),
        panel_of(alert("QueueTimeHigh"), title="Time in the queue, p95 of 10 minutes", unit="s"),
        panel_of(alert("AdmissionRejections"), title="Turned away by engines or the gateway", unit="reqps"),
        lines(
            "Turned away by engines, by why",
            Query(total(rate(engines(metrics.ADMISSION_REJECTIONS)), "service", "reason"), "{{service}} {{reason}}"),
            unit="reqps",
        ),
        lines("Running", Query(total(engines(metrics.REQUESTS_RUNNING), *_REPLICA), "{{service}} {{replica}}")),
    ),
)

_LENGTHS = Row(
    "Tokens a request",
    (_lengths("Prompts", metrics.PROMPT_LENGTH), _lengths("Answers", metrics.OUTPUT_LENGTH)),
)

_DAY = Row(
    "What a day needs: its 95th percentile, of the busiest replica",
    (
        _day("KV cache in use", metrics.KV_CACHE_USAGE, unit="percentunit", full=1),
        _day("Running", metrics.REQUESTS_RUNNING),
        _day("Waiting", metrics.REQUESTS_WAITING),
    ),
)

DASHBOARD = Dashboard(
    "capacity",
    "Capacity and KV cache",
    "Is there room, for how much more, and what takes it?",
    (_KV_CACHE, _QUEUE, _LENGTHS, _DAY, runbooks("capacity")),
)
