"""Rollout: is what is new as good as what was before it."""

from __future__ import annotations

from typing import Unpack

from grafana.queries import alert, engines, mean, quantile, rate, total
from grafana.shared import CONFIGURATIONS, ENGINES_UP, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Look, Panel, Query, Row, lines, panel_of, table

# not the release, which is each engine's own: addresses are in it
_ALIKE = ("service", "track", "configuration")
_API = f'job="{metrics.VLLM}"'
_UP = total(ENGINES_UP, *_ALIKE)


def _counted(metric: str, *matchers: str) -> str:
    return total(rate(engines(metric, *matchers)), *_ALIKE)


_ANSWERS = _counted(metrics.HTTP_REQUESTS, _API)
_FAILED = _counted(metrics.HTTP_REQUESTS, _API, 'status="5xx"')


def _beside(title: str, expression: str, **look: Unpack[Look]) -> Panel:
    return lines(title, Query(expression, "{{service}} {{track}} {{configuration}}"), **look)


def _canary(title: str, histogram: str) -> Panel:
    canary, stable = (
        quantile(0.95, histogram, "service", matchers=(f'{metrics.TRACK}="{track}"',))
        for track in ("canary", metrics.STABLE)
    )
    ratio = Query(f"{canary} / {stable}", "{{service}}")
    return lines(title, ratio, unit="percentunit", width=12, height=5, nothing="No canary")


_RUNS = Row(
    "What runs",
    (
        table("Replicas up", Query(_UP, "Up"), width=12, height=7),
        table("What each engine was declared with", Query(CONFIGURATIONS), width=12, height=7),
        panel_of(alert("VersionSkew"), title="Configurations of a service (1: all alike)", width=12),
        panel_of(
            alert("ConfigDrift"),
            title="Releases that run (two of an engine: a rollback, or a deploy)",
            legend="{{service}} {{replica}} on {{host}} {{release}}",
            width=12,
        ),
    ),
)

_SIDE_BY_SIDE = Row(
    "Side by side: engines that run alike",
    (
        _beside("Time to first token p95", quantile(0.95, metrics.TTFT, *_ALIKE), unit="s"),
        _beside("Between tokens p95", quantile(0.95, metrics.ITL, *_ALIKE), unit="s"),
        _beside("5xx of engines", f"({_FAILED} or 0 * {_ANSWERS}) / {_ANSWERS}", unit="percentunit"),
        _beside("Tokens generated a replica", f"{_counted(metrics.GENERATION_TOKENS)} / {_UP}", unit="count:tok/s"),
        _beside(
            "Tokens an answer (mean)",
            mean(metrics.OUTPUT_LENGTH, *_ALIKE),
            description="One that answers shorter, or never ends, has another model or chat template.",
        ),
        _beside("Requests a replica", f"{_counted(metrics.REQUESTS_FINISHED)} / {_UP}", unit="reqps"),
    ),
)

_CANARY = Row(
    "Canary (100 %: the same as stable)",
    (
        _canary("Time to first token p95, of stable", metrics.TTFT),
        _canary("Between tokens p95, of stable", metrics.ITL),
    ),
)

DASHBOARD = Dashboard(
    "rollout",
    "Rollout",
    "Is what is new as good as what was before it?",
    (_RUNS, _SIDE_BY_SIDE, _CANARY, runbooks("rollout")),
)
