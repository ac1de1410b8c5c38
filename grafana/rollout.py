"""Rollout: is the new release as good as the one before it."""

from __future__ import annotations

from typing import Any

from grafana.queries import engines, mean, quantile, rate, total
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row

_RELEASE = (metrics.SERVICE, metrics.TRACK, metrics.RELEASE)
_NAME = "{{service}} {{track}} {{release}}"
_ANSWERS = engines(metrics.HTTP_REQUESTS, f'job="{metrics.VLLM}"')
_FAILED = engines(metrics.HTTP_REQUESTS, f'job="{metrics.VLLM}"', 'status="5xx"')
_UP = engines(metrics.UP, f'job="{metrics.VLLM}"')
_CANARY, _STABLE = f'{metrics.TRACK}="canary"', f'{metrics.TRACK}="stable"'


def _by_release(title: str, expression: str, **more: Any) -> Panel:
    return Panel(title, (Query(expression, _NAME),), width=8, **more)


def _p95(histogram: str) -> Query:
    canary, stable = (quantile(0.95, histogram, metrics.SERVICE, matchers=(track,)) for track in (_CANARY, _STABLE))
    return Query(f"{canary} / {stable}", "{{service}}")


DASHBOARD = Dashboard(
    "rollout",
    "Rollout",
    "Is the new release as good as the one before it?",
    (
        Row(
            "Which releases serve",
            (
                Panel("Replicas up, by release", (Query(total(_UP, *_RELEASE), "Up"),), "table", width=12, height=6),
                Panel(
                    "What each engine runs",
                    (
                        Query(
                            f"max by (service, replica, rank, host, track, release) ({engines(metrics.ENGINE_INFO)})",
                        ),
                    ),
                    "table",
                    width=12,
                    height=6,
                ),
            ),
        ),
        Row(
            "Side by side",
            (
                _by_release("Time to first token p95", quantile(0.95, metrics.TTFT, *_RELEASE), unit="s"),
                _by_release("Between tokens p95", quantile(0.95, metrics.ITL, *_RELEASE), unit="s"),
                _by_release(
                    "5xx of engines",
                    f"({total(rate(_FAILED), *_RELEASE)} or 0 * {total(rate(_ANSWERS), *_RELEASE)})"
                    f" / {total(rate(_ANSWERS), *_RELEASE)}",
                    unit="percentunit",
                ),
                _by_release(
                    "Tokens generated a replica",
                    f"{total(rate(engines(metrics.GENERATION_TOKENS)), *_RELEASE)} / {total(_UP, *_RELEASE)}",
                    unit="si:tok/s",
                ),
                _by_release(
                    "Length of answers (mean)",
                    mean(metrics.OUTPUT_LENGTH, *_RELEASE),
                    description="Tokens. A release that answers shorter, or never ends, is another model or template.",
                ),
                _by_release(
                    "Requests a replica",
                    f"{total(rate(engines(metrics.REQUESTS_FINISHED)), *_RELEASE)} / {total(_UP, *_RELEASE)}",
                    unit="reqps",
                ),
            ),
        ),
        Row(
            "Canary, of stable's (1 is the same)",
            (
                Panel("Time to first token p95", (_p95(metrics.TTFT),), unit="percentunit", width=12),
                Panel("Between tokens p95", (_p95(metrics.ITL),), unit="percentunit", width=12),
            ),
        ),
        runbooks("rollout"),
    ),
)  # fmt: skip
