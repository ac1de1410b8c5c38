"""Rollout: is the new release as good as the one before it."""

from __future__ import annotations

from typing import Unpack

from grafana.queries import engines, mean, quantile, rate, total
from grafana.shared import ENGINES_UP, RELEASES, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Look, Panel, Query, Row, lines, table

_RELEASE = (metrics.SERVICE, metrics.TRACK, metrics.RELEASE)
_UP = total(ENGINES_UP, *_RELEASE)
_API = f'job="{metrics.VLLM}"'
_ANSWERS = total(rate(engines(metrics.HTTP_REQUESTS, _API)), *_RELEASE)
_FAILED = total(rate(engines(metrics.HTTP_REQUESTS, _API, 'status="5xx"')), *_RELEASE)
_GENERATED = total(rate(engines(metrics.GENERATION_TOKENS)), *_RELEASE)
_FINISHED = total(rate(engines(metrics.REQUESTS_FINISHED)), *_RELEASE)


def _by_release(title: str, expression: str, **look: Unpack[Look]) -> Panel:
    return lines(title, Query(expression, "{{service}} {{track}} {{release}}"), **look)


def _canary(title: str, histogram: str) -> Panel:
    canary, stable = (
        quantile(0.95, histogram, "service", matchers=(f'{metrics.TRACK}="{track}"',)) for track in ("canary", "stable")
    )
    return lines(title, Query(f"{canary} / {stable}", "{{service}}"), unit="percentunit", width=12, nothing="No canary")


_RELEASES = Row(
    "Which releases serve",
    (
        table("Replicas up", Query(_UP, "Up"), width=12, height=6),
        table("What each engine runs", Query(RELEASES), width=12, height=6),
    ),
)

_SIDE_BY_SIDE = Row(
    "Side by side",
    (
        _by_release("Time to first token p95", quantile(0.95, metrics.TTFT, *_RELEASE), unit="s"),
        _by_release("Between tokens p95", quantile(0.95, metrics.ITL, *_RELEASE), unit="s"),
        _by_release("5xx of engines", f"({_FAILED} or 0 * {_ANSWERS}) / {_ANSWERS}", unit="percentunit"),
        _by_release("Tokens generated a replica", f"{_GENERATED} / {_UP}", unit="si:tok/s"),
        _by_release(
            "Tokens an answer (mean)",
            mean(metrics.OUTPUT_LENGTH, *_RELEASE),
            description="A release that answers shorter, or never ends, has another model or chat template.",
        ),
        _by_release("Requests a replica", f"{_FINISHED} / {_UP}", unit="reqps"),
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
    "Is the new release as good as the one before it?",
    (_RELEASES, _SIDE_BY_SIDE, _CANARY, runbooks("rollout")),
)
