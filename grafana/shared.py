"""Rows that several dashboards have."""

from __future__ import annotations

from itertools import groupby

from grafana.queries import alert, engines, gateway, hosts, how_many, mean, number_of, rate, total, worst
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS
from vllm_fleet.observe.alerts.subjects import Dashboard as Name
from vllm_fleet.observe.panel import Panel, Query, Row, above, lines, number

RESPONSES = rate(gateway(metrics.BACKEND_RESPONSES))
FAILED = rate(gateway(metrics.BACKEND_RESPONSES, 'code="5xx"'))
ENGINES_UP = engines(metrics.UP, f'job="{metrics.VLLM}"')
CONFIGURATIONS = worst(
    engines(metrics.ENGINE_INFO), "service", "replica", "rank", "host", "track", "vllm_version", "configuration"
)

_EXPORTERS = hosts(metrics.UP, f'job="{metrics.NVML}"')
_FAILED_BY_ENGINES = rate(gateway(metrics.SERVER_RESPONSES, 'code="5xx"'))

US_OR_THE_MODEL = Row(
    "Is it us or the model?",
    (
        lines(
            "5xx, by who answered so",
            Query(f"clamp_min({total(FAILED)} - {total(_FAILED_BY_ENGINES)}, 0)", "the gateway"),
            Query(total(_FAILED_BY_ENGINES, "proxy"), "{{proxy}}'s engines"),
            unit="reqps",
            description="The gateway's: what a backend answered and none of its servers did, for none was free.",
        ),
        lines(
            "Where a request's time goes (mean)",
            Query(worst(gateway(metrics.BACKEND_QUEUE_TIME)), "gateway"),
            Query(mean(metrics.QUEUE_TIME), "engine's queue"),
            Query(mean(metrics.PREFILL_TIME), "prefill"),
            Query(mean(metrics.DECODE_TIME), "decode"),
            unit="s",
            stacked=True,
            description="Ours: gateway (no engine is free), engine's queue (too much at once, a full KV cache). "
            "The model's: prefill (long prompts), decode (long answers, large batches).",
        ),
        number(
            "Behind the engines",
            Query(how_many(alert("VllmDown")), "engines down"),
            Query(how_many(alert("HostDown")), "hosts down"),
            Query(how_many(alert("GpuLost")), "GPUs lost"),
            Query(number_of(f"{_EXPORTERS} == 0"), "GPU exporters silent"),
            Query(how_many(alert("GpuRecoveryAction")), "GPUs that need a reset"),
            Query(how_many(alert("GpuThermalThrottle")), "GPUs too hot"),
            Query(how_many(alert("VllmProbeFailing")), "probes failing"),
            levels=above(page=1),
            description="0 everywhere: neither hosts nor GPUs are why.",
        ),
    ),
)


def runbooks(dashboard: Name) -> Row:
    """Where to read on: the pages of the runbook for the alerts that lead here."""
    led = sorted((each.subject.name, each.name) for each in ALERTS if each.subject.dashboard == dashboard)
    pages = [
        f"- `docs/runbooks/{page}.md`: {', '.join(name for _, name in names)}"
        for page, names in groupby(led, key=lambda each: each[0])
    ]
    text = "\n".join(["In the project's repository:", "", *(pages or ["- `docs/runbooks/README.md`"])])
    return Row("Runbook", (Panel("What to do about alerts that lead here", "text", width=24, height=4, text=text),))
