"""Service: does it answer in time, and if not, is it us or the model."""

from __future__ import annotations

from grafana.queries import alert, buckets, engines, mean, quantile, rate, total, worst
from grafana.shared import CONFIGURATIONS, ENGINES_UP, FAILED, RESPONSES, US_OR_THE_MODEL, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import (
    PLAIN,
    Dashboard,
    Levels,
    Panel,
    Query,
    Row,
    Unit,
    above,
    below,
    heatmap,
    lines,
    number,
    panel_of,
    table,
)  # fmt: skip

_ENGINE = ("service", "replica", "host")
_NAME = "{{service}} {{replica}} on {{host}}"
_UNIT = "{{name}} on {{host}}"


def _now(title: str, expression: str, unit: Unit = "short", levels: Levels = PLAIN) -> Panel:
    return number(title, Query(expression), unit=unit, width=4, height=4, levels=levels)


def _quantiles(title: str, histogram: str) -> Panel:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return lines(title, *(Query(quantile(share, histogram), name) for name, share in shares.items()), unit="s")


def _burn(window: str, name: str) -> Panel:
    alerts = [alert(f"{objective}{name}") for objective in ("Ttft", "Itl", "Errors")]
    return panel_of(*alerts, title=f"Error budget burn, {window} (1: used up exactly)", legend="{{service}} {{slo}}")


_NOW = Row(
    "Now",
    (
        _now("Replicas up", total(ENGINES_UP)),
        _now("Requests", total(RESPONSES), unit="reqps"),
        # what the default objective allows, and what would be its fast burn
        _now("5xx", f"{total(FAILED)} / {total(RESPONSES)}", unit="percentunit", levels=above(0.001, 0.0144)),
        _now("TTFT p95", quantile(0.95, metrics.TTFT), unit="s"),
        _now("ITL p95", quantile(0.95, metrics.ITL), unit="s"),
        _now("Tokens generated", total(rate(engines(metrics.GENERATION_TOKENS))), unit="count:tok/s"),
    ),
)

_PROMISE = Row(
    "What is promised",
    (_burn("1 h", "FastBurn"), _burn("6 h", "SlowBurn"), _burn("3 d", "BudgetTicket")),
)

_LATENCY = Row(
    "Latency",
    (
        _quantiles("Time to first token", metrics.TTFT),
        _quantiles("Between tokens", metrics.ITL),
        _quantiles("Whole request", metrics.E2E),
        heatmap("Time to first token, all requests", Query(buckets(metrics.TTFT), "{{le}}"), unit="s", width=12),
        lines(
            "Phases (mean)",
            Query(mean(metrics.QUEUE_TIME, "service"), "{{service}} queue"),
            Query(mean(metrics.PREFILL_TIME, "service"), "{{service}} prefill"),
            Query(mean(metrics.DECODE_TIME, "service"), "{{service}} decode"),
            unit="s",
            width=12,
        ),
    ),
)

_LOAD = Row(
    "Load",
    (
        lines(
            "Requests by status",
            Query(f"{total(RESPONSES, 'proxy', 'code')} > 0", "{{proxy}} {{code}}"),
            unit="reqps",
            nothing="No requests",
        ),
        lines("Running", Query(total(engines(metrics.REQUESTS_RUNNING), *_ENGINE), _NAME)),
        lines("Waiting", Query(total(engines(metrics.REQUESTS_WAITING), *_ENGINE), _NAME)),
        lines(
            "Tokens",
            Query(total(rate(engines(metrics.PROMPT_TOKENS)), "service"), "{{service}} prompts"),
            Query(total(rate(engines(metrics.GENERATION_TOKENS)), "service"), "{{service}} generated"),
            unit="count:tok/s",
        ),
        lines(
            "How requests end",
            Query(
                f"{total(rate(engines(metrics.REQUESTS_FINISHED)), 'service', 'finished_reason')} > 0",
                "{{service}} {{finished_reason}}",
            ),
            unit="reqps",
            nothing="None ends",
            description="`abort` stays 0 although clients leave (measured, vLLM 0.32): the next panel tells.",
        ),
        panel_of(alert("ClientAborts"), title="Left by their clients", unit="percentunit"),
    ),
)

_ENGINES = Row(
    "Engines",
    (
        table(
            "A row an engine",
            Query(worst(engines(metrics.ENGINE_PHASE), *_ENGINE, "phase")),
            Query(worst(ENGINES_UP, *_ENGINE), "Up", levels=below(1), names={0: "down", 1: "up"}),
            Query(
                worst(engines(metrics.PROBE_SUCCESS), *_ENGINE),
                "Probe",
                levels=below(1),
                names={0: "fails", 1: "answered"},
            ),
            Query(worst(engines(metrics.PROBE_SECONDS), *_ENGINE), "Probe took", "s"),
            width=12,
            height=7,
        ),
        table("What each was declared with", Query(CONFIGURATIONS), width=12, height=7),
        panel_of(alert("VllmDown"), alert("VllmLoadingTooLong"), title="Up", legend=_NAME),
        panel_of(alert("GatewayDown"), title="Gateways up"),
        panel_of(
            alert("CertExpiring"),
            title="Days until the gateway's certificate ends",
            legend="{{certificate}} on {{host}}",
            nothing="The gateway speaks plain HTTP",
        ),
        panel_of(alert("VllmServiceDown"), title="Replicas that answer"),
        panel_of(alert("VllmReplicasMissing"), title="Replicas missing"),
        panel_of(alert("VllmWedged"), title="Steps a second", legend=_NAME),
        panel_of(alert("VllmCrashLoop"), title="Restarts in 30 minutes", legend=_UNIT),
        panel_of(
            alert("VllmGroupPartial"),
            title="Parts of a replica that do not run",
            legend="{{service}} {{replica}}",
            nothing="None",
        ),
        panel_of(alert("VllmGroupGaveUp"), title="Groups that gave up", legend=_UNIT),
        panel_of(alert("VllmProbeFailing"), title="Probe: one token, answered", legend=_NAME, width=12),
        lines(
            "Probe: one token, time",
            Query(engines(metrics.PROBE_SECONDS), _NAME),
            unit="s",
            width=12,
            description="How long the last completion of one token took, asked on the engine's own host.",
        ),
    ),
)

DASHBOARD = Dashboard(
    "service",
    "Service",
    "Does it answer in time, and if not: is it us or the model?",
    (_NOW, US_OR_THE_MODEL, _PROMISE, _LATENCY, _LOAD, _ENGINES, runbooks("service")),
)
