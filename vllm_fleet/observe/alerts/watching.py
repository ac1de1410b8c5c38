"""The watching itself: do alerts get out, and do the series exist that they are made of."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import HOST_ANSWERS, Alert

ALERT_PATH_FAILING = Alert(
    name="AlertPathFailing",
    query=f"sum by (job, {metrics.HOST}) "
    f"(rate({metrics.NOTIFICATION_ERRORS}[5m]) or rate({metrics.NOTIFICATIONS_FAILED}[5m]))",
    comparison=">",
    threshold=0,
    held="5m",
    severity="page",
    subject=subjects.WATCHING,
    summary="{{ $labels.job }} on {{ $labels.host }} cannot pass alerts on",
    action="Try its next hop by hand: Alertmanager, or a webhook; this alert may reach you by another way only",
)

# engines, gateways and the GPU exporter have pages of their own
_PAGED = "|".join((metrics.VLLM, metrics.HAPROXY, metrics.NVML))

TARGET_DOWN = Alert(
    name="TargetDown",
    query=f'{metrics.UP}{{job!~"{_PAGED}"}}',
    comparison="==",
    threshold=0,
    held="5m",
    severity="ticket",
    subject=subjects.WATCHING,
    summary="{{ $labels.job }} on {{ $labels.host }} cannot be scraped, though its host answers",
    action="Start its daemon; alerts on what it exposes are silent until then",
    provided=f"and {HOST_ANSWERS}",
)


ENGINE_FACTS_STALE = Alert(
    name="EngineFactsStale",
    # by the scrape targets: a file that is gone has no series either
    query=f'count by ({metrics.HOST}) ({metrics.UP}{{job="{metrics.VLLM}"}} '
    f"unless on ({metrics.HOST}, {metrics.UNIT}) (time() - {metrics.FACTS_TIMESTAMP} < 120))",
    comparison=">",
    threshold=0,
    held="5m",
    severity="ticket",
    subject=subjects.WATCHING,
    summary="{{ $labels.host }}: nothing new is told of its engines; VllmProbeFailing and others are blind there",
    action="Read the journal of vllm-fleet-engine-facts there, then that of the node exporter",
)


def metric_vanished(queries: Iterable[str]) -> Alert:
    """A series of these is missing while its target is up: an upgrade renamed it, and alerts on it stay silent."""
    asked = dict.fromkeys(name for query in queries for name in metrics.metrics_in(query))
    names = [name for name in asked if name not in metrics.NOT_EVERYWHERE]
    return Alert(
        name="MetricVanished",
        query=f"({' or '.join(map(_absent, names))})",
        comparison="==",
        threshold=1,
        held="10m",
        severity="ticket",
        subject=subjects.WATCHING,
        summary="{{ $labels.job }} on {{ $labels.host }} no longer exposes {{ $labels.metric }}, which alerts need",
        action="Find its new name, and change vllm_fleet/observe/metrics.py; until then those alerts are blind",
    )


def _absent(metric: str) -> str:
    job = next(job for prefix, job in metrics.JOB_OF_PREFIX.items() if metric.startswith(prefix))
    target = f'{metrics.UP}{{job="{job}"}} == 1'
    if metric in (metrics.UNIT_STATE, metrics.UNIT_RESTARTS):  # only hosts with engines have their units
        target += f' and on ({metrics.HOST}) {metrics.UP}{{job="{metrics.VLLM}"}}'
    if job == metrics.NVML:  # of GPUs that are lost GpuLost tells
        target += f" and on (job, instance) {metrics.GPU_UP} == 1"
    return f'label_replace({target} unless on (job, instance) {metric}, "metric", "{metric}", "", "")'


WATCHDOG = Alert(
    name="Watchdog",
    query="vector(1)",
    comparison=">",
    threshold=0,
    held="0s",
    severity="watchdog",
    subject=subjects.WATCHING,
    summary="Alerts reach you. Whatever receives this must raise the alarm when it stops",
    action="Nothing, while it comes",
)
