"""Requests that wait, and those that are turned away."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import ENGINE, Alert

QUEUE_GROWING = Alert(
    name="QueueGrowing",
    query=metrics.REQUESTS_WAITING,
    comparison=">",
    threshold=20,
    held="10m",
    severity="page",
    subject=subjects.QUEUE,
    summary=f"{ENGINE}: more than 20 requests wait, and they become more",
    action="Add a replica, or turn load away; look whether another replica is gone",
    provided=f"and deriv({metrics.REQUESTS_WAITING}[10m]) > 0",
)

QUEUE_TIME_HIGH = Alert(
    name="QueueTimeHigh",
    query=f"histogram_quantile(0.95, sum by ({metrics.SERVICE}, le) (rate({metrics.QUEUE_TIME}_bucket[10m])))",
    comparison=">",
    threshold=5,
    held="10m",
    severity="ticket",
    subject=subjects.QUEUE,
    summary="{{ $labels.service }}: one request in twenty waits longer than 5 s before it is begun",
    action="Compare running requests with max-num-seqs, and the KV cache's use, then add what is short",
)

# What a backend answered and none of its servers did is HAProxy's own: no server, none in time (measured, 2.6.12).
_OWN_ANSWERS = (
    f'sum by (proxy) (rate({metrics.BACKEND_RESPONSES}{{code="5xx"}}[5m])) '
    f'- sum by (proxy) (rate({metrics.SERVER_RESPONSES}{{code="5xx"}}[5m]))'
)

ADMISSION_REJECTIONS = Alert(
    name="AdmissionRejections",
    query=f"sum by ({metrics.SERVICE}) (rate({metrics.ADMISSION_REJECTIONS}[5m]) "
    f'or label_replace({_OWN_ANSWERS}, "{metrics.SERVICE}", "$1", "proxy", "(.+)"))',
    comparison=">",
    # one in 100 s; above 0, for the difference of two rates is seldom exactly that
    threshold=0.01,
    held="5m",
    severity="ticket",
    subject=subjects.QUEUE,
    summary="{{ $labels.service }}: engines or the gateway turn requests away",
    action="Find out which of the two; raise capacity, or the limit where it is too careful",
)

ALERTS = (QUEUE_GROWING, QUEUE_TIME_HIGH, ADMISSION_REJECTIONS)
