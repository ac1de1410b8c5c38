"""Service: is the promise kept, and if not, by whom."""

from __future__ import annotations

from typing import Any

from grafana.queries import (
    buckets,
    engines,
    gateway,
    mean,
    named,
    or_none,
    quantile,
    rate,
    services,
    total,
)
from grafana.shared import BACKEND_5XX, US_OR_THE_MODEL, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import Alert
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, above, panel_of

_REPLICA = "{{service}} {{replica}} on {{host}}"
_ENGINE = (metrics.SERVICE, metrics.REPLICA, metrics.HOST)
_RESPONSES = rate(gateway(metrics.BACKEND_RESPONSES))


def _quantiles(title: str, histogram: str) -> Panel:
    shares = (0.5, 0.95, 0.99)
    return Panel(title, tuple(Query(quantile(share, histogram), f"p{share * 100:g}") for share in shares), unit="s")


def _burns(window: str, name: str) -> Panel:
    alerts: list[Alert] = named(f"Ttft{name}", f"Itl{name}", f"Errors{name}")
    return panel_of(*alerts, title=f"Error budget burn, {window}", legend="{{service}} {{slo}}")


def _now(title: str, expression: str, **more: Any) -> Panel:
    return Panel(title, (Query(expression),), "stat", width=4, height=4, **more)


DASHBOARD = Dashboard(
    "service",
    "Service",
    "Does it answer in time, and if not: is it us or the model?",
    (
        Row(
            "Now",
            (
                _now("Replicas up", total(engines(metrics.UP, f'job="{metrics.VLLM}"'))),
                _now("Requests", total(_RESPONSES), unit="reqps"),
                _now(
                    "5xx",
                    or_none(f"{total(BACKEND_5XX)} / {total(_RESPONSES)}"),
                    unit="percentunit",
                    levels=above(0.001, 0.0144),
                ),
                _now("TTFT p95", quantile(0.95, metrics.TTFT), unit="s"),
                _now("ITL p95", quantile(0.95, metrics.ITL), unit="s"),
                _now("Tokens generated", total(rate(engines(metrics.GENERATION_TOKENS))), unit="si:tok/s"),
            ),
        ),
        US_OR_THE_MODEL,
        Row(
            "What is promised",
            (
                _burns("1 h", "FastBurn"),
                _burns("6 h", "SlowBurn"),
                _burns("3 d", "BudgetTicket"),
            ),
        ),
        Row(
            "Latency",
            (
                _quantiles("Time to first token", metrics.TTFT),
                _quantiles("Between tokens", metrics.ITL),
                _quantiles("Whole request", metrics.E2E),
                Panel(
                    "Time to first token, all requests",
                    (Query(buckets(metrics.TTFT), "{{le}}"),),
                    "heatmap",
                    unit="s",
                    width=12,
                ),
                Panel(
                    "Phases (mean)",
                    (
                        Query(mean(metrics.QUEUE_TIME, metrics.SERVICE), "{{service}} queue"),
                        Query(mean(metrics.PREFILL_TIME, metrics.SERVICE), "{{service}} prefill"),
                        Query(mean(metrics.DECODE_TIME, metrics.SERVICE), "{{service}} decode"),
                    ),
                    unit="s",
                    width=12,
                ),
            ),
        ),
        Row(
            "Load",
            (
                Panel("Requests by status", (Query(total(_RESPONSES, "proxy", "code"), "{{proxy}} {{code}}"),), unit="reqps"),
                Panel("Running", (Query(total(engines(metrics.REQUESTS_RUNNING), *_ENGINE), _REPLICA),)),
                Panel("Waiting", (Query(total(engines(metrics.REQUESTS_WAITING), *_ENGINE), _REPLICA),)),
                Panel(
                    "Tokens",
                    (
                        Query(total(rate(engines(metrics.PROMPT_TOKENS)), metrics.SERVICE), "{{service}} prompts"),
                        Query(total(rate(engines(metrics.GENERATION_TOKENS)), metrics.SERVICE), "{{service}} generated"),
                    ),
                    unit="si:tok/s",
                ),
                Panel(
                    "How requests end",
                    (
                        Query(
                            total(rate(engines(metrics.REQUESTS_FINISHED)), metrics.SERVICE, "finished_reason"),
                            "{{service}} {{finished_reason}}",
                        ),
                    ),
                    unit="reqps",
                    description="`abort` stays 0 when clients leave (vLLM 0.32); see what clients leave.",
                ),
                panel_of(*named("ClientAborts"), title="Left by their clients", unit="percentunit"),
            ),
        ),
        Row(
            "Engines",
            (
                panel_of(*named("VllmDown"), title="Up", legend=_REPLICA),
                panel_of(*named("VllmServiceDown"), title="Replicas that answer"),
                panel_of(*named("VllmReplicasMissing"), title="Replicas missing"),
                panel_of(*named("VllmWedged"), title="Engine steps a second", legend=_REPLICA),
                panel_of(*named("VllmCrashLoop"), title="Restarts in 30 minutes", legend="{{name}} on {{host}}"),
                panel_of(*named("VllmGroupGaveUp"), title="Groups that gave up", legend="{{name}} on {{host}}"),
                Panel(
                    "One-token probe",
                    (Query(services(metrics.PROBE_SECONDS, 'host=~"$host"'), _REPLICA),),
                    unit="s",
                    description="How long the last completion of one token took, asked on the host itself.",
                ),
                Panel(
                    "Releases",
                    (
                        Query(
                            f"max by (service, replica, rank, host, track, release) ({engines(metrics.ENGINE_INFO)})",
                        ),
                    ),
                    "table",
                    width=16,
                ),
            ),
        ),
        runbooks("service"),
    ),
)  # fmt: skip
