"""Rows that several dashboards have."""

from __future__ import annotations

from itertools import groupby

from grafana.queries import engines, gateway, hosts, how_many, mean, named, or_none, rate, total, worst
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS
from vllm_fleet.observe.alerts.subjects import Dashboard as Name
from vllm_fleet.observe.panel import Panel, Query, Row, above

BACKEND_5XX = rate(gateway(metrics.BACKEND_RESPONSES, 'code="5xx"'))
_SERVER_5XX = rate(gateway(metrics.SERVER_RESPONSES, 'code="5xx"'))
_LOST = f"{total(hosts(metrics.GPUS_DECLARED))} - {total(hosts(metrics.GPUS_VISIBLE))}"

US_OR_THE_MODEL = Row(
    "Is it us or the model?",
    (
        Panel(
            "5xx, by who answered so",
            (
                Query(f"clamp_min({total(BACKEND_5XX)} - {total(_SERVER_5XX)}, 0)", "gateway: no engine, or none in time"),
                Query(total(_SERVER_5XX, "proxy"), "engines of {{proxy}}"),
            ),
            unit="reqps",
            width=8,
            description="What a backend answered and none of its servers did is the gateway's own.",
        ),
        Panel(
            "Where a request's time goes (mean)",
            (
                Query(worst(gateway(metrics.BACKEND_QUEUE_TIME)), "at the gateway: no engine is free"),
                Query(mean(metrics.QUEUE_TIME), "waiting in the engine: too much load, or no KV cache"),
                Query(mean(metrics.PREFILL_TIME), "prefill: long prompts"),
                Query(mean(metrics.DECODE_TIME), "decode: long answers, large batches"),
            ),
            unit="s",
            width=8,
            stacked=True,
            description="Prefill and decode are the model's work; what stands before them is ours.",
        ),
        Panel(
            "Behind the engines",
            (
                Query(how_many(*named("VllmDown")), "engines down"),
                Query(how_many(*named("HostDown")), "hosts down"),
                Query(or_none(_LOST), "GPUs lost"),
                Query(or_none(f"count({hosts(metrics.GPU_RECOVERY_ACTION)} > 0)"), "GPUs that ask for a reset"),
                Query(
                    or_none(f"count({worst(rate(hosts(metrics.GPU_THROTTLED)), 'host', 'gpu')} > 0.05)"), "GPUs throttled"
                ),
                Query(or_none(f"count({engines(metrics.PROBE_SUCCESS)} == 0)"), "probes failing"),
            ),
            kind="stat",
            width=8,
            levels=above(page=1),
            description="0 everywhere: neither hosts nor GPUs are why.",
        ),
    ),
)  # fmt: skip


def runbooks(dashboard: Name) -> Row:
    """Where to read on: the pages of the runbook for the alerts that lead here."""
    led = sorted((alert.subject.name, alert.name) for alert in ALERTS if alert.subject.dashboard == dashboard)
    pages = [
        f"- `docs/runbooks/{page}.md`: {', '.join(name for _, name in names)}"
        for page, names in groupby(led, key=lambda each: each[0])
    ]
    text = "\n".join(["What to do, in the project's repository:", "", *(pages or ["- `docs/runbooks/README.md`"])])
    return Row("Runbook", (Panel("Alerts that lead here", kind="text", width=24, height=4, text=text),))
