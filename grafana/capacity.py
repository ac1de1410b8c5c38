"""Capacity and KV cache: is there room, for how much more, and what takes it."""

from __future__ import annotations

from typing import Any

from grafana.queries import engines, mean, named, quantile, rate, services, total, worst
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, panel_of

_REPLICA = "{{service}} {{replica}} on {{host}}"
_OF_REPLICA = (metrics.SERVICE, metrics.REPLICA)
_TOKENS = worst(services(metrics.KV_CACHE_TOKENS), *_OF_REPLICA)
_USED = f"avg by (service, replica) ({services(metrics.KV_CACHE_USAGE)})"


def _day(title: str, metric: str, **more: Any) -> Panel:
    """The 95th percentile over a day: what the busiest hours need."""
    query = worst(f"quantile_over_time(0.95, {engines(metric)}[1d])", metrics.SERVICE)
    return Panel(title, (Query(query, "{{service}}"),), width=8, **more)


def _lengths(title: str, histogram: str) -> Panel:
    return Panel(
        title,
        (
            Query(quantile(0.5, histogram, metrics.SERVICE), "{{service}} p50"),
            Query(quantile(0.95, histogram, metrics.SERVICE), "{{service}} p95"),
            Query(mean(histogram, metrics.SERVICE), "{{service}} mean"),
        ),
        width=12,
        description="Tokens.",
    )


DASHBOARD = Dashboard(
    "capacity",
    "Capacity and KV cache",
    "Is there room, for how much more, and what takes it?",
    (
        Row(
            "KV cache",
            (
                panel_of(
                    *named("KvCacheHigh", "KvCacheSaturated"),
                    title="In use, 90th percentile of 10 minutes",
                    legend=_REPLICA,
                    unit="percentunit",
                ),
                Panel(
                    "Tokens free",
                    (Query(f"{_TOKENS} * on (service, replica) (1 - {_USED})", "{{service}} {{replica}}"),),
                    description="Of what the engine says its cache holds.",
                ),
                Panel(
                    "Room for tokens, planned and found",
                    (
                        Query(worst(services(metrics.KV_CACHE_PLANNED), *_OF_REPLICA), "Planned"),
                        Query(_TOKENS, "Found"),
                    ),
                    "table",
                    description="What `fleet plan` said, and what the engine found when it started.",
                ),
                panel_of(*named("Preemptions"), title="Preemptions a request", legend=_REPLICA, unit="percentunit"),
                Panel(
                    "Prompt tokens found in the prefix cache",
                    (
                        Query(
                            f"{total(rate(engines(metrics.PREFIX_CACHE_HITS)), metrics.SERVICE)}"
                            f" / {total(rate(engines(metrics.PREFIX_CACHE_QUERIES)), metrics.SERVICE)}",
                            "{{service}}",
                        ),
                    ),
                    unit="percentunit",
                    full=1,
                ),
                panel_of(
                    *named("PrefixHitCollapse"), title="Prefix hits, of yesterday's", legend="{{service}}", unit="percentunit"
                ),
            ),
        ),
        Row(
            "Queue",
            (
                panel_of(*named("QueueGrowing"), title="Waiting", legend=_REPLICA),
                Panel(
                    "Waiting, by what for",
                    (
                        Query(
                            total(engines(metrics.REQUESTS_WAITING_BY_REASON), metrics.SERVICE, "reason"),
                            "{{service}} {{reason}}",
                        ),
                    ),
                    description="`capacity`: room in the KV cache.",
                ),
                panel_of(*named("QueueTimeHigh"), title="Time in the queue, p95 of 10 minutes", unit="s"),
                panel_of(*named("AdmissionRejections"), title="Turned away by engines or the gateway", unit="reqps"),
                Panel(
                    "Turned away by engines, by why",
                    (
                        Query(
                            total(rate(engines(metrics.ADMISSION_REJECTIONS)), metrics.SERVICE, "reason"),
                            "{{service}} {{reason}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel("Running", (Query(total(engines(metrics.REQUESTS_RUNNING), *_OF_REPLICA), "{{service}} {{replica}}"),)),
            ),
        ),
        Row("What is asked", (_lengths("Prompts", metrics.PROMPT_LENGTH), _lengths("Answers", metrics.OUTPUT_LENGTH))),
        Row(
            "What a day needs: its 95th percentile, the busiest replica's",
            (
                _day("KV cache in use", metrics.KV_CACHE_USAGE, unit="percentunit", full=1),
                _day("Running", metrics.REQUESTS_RUNNING),
                _day("Waiting", metrics.REQUESTS_WAITING),
            ),
        ),
        runbooks("capacity"),
    ),
)  # fmt: skip
