"""The alerts, by subject."""

from __future__ import annotations

from vllm_fleet.observe.alerts import engine, gpu, host, kv_cache, queue, releases, service, slo
from vllm_fleet.observe.alerts.alert import Alert, Severity
from vllm_fleet.observe.alerts.gpu import GPU_LOST
from vllm_fleet.observe.alerts.host import HOST_DOWN
from vllm_fleet.observe.alerts.service import VLLM_SERVICE_DOWN
from vllm_fleet.observe.alerts.watching import (
    ALERT_PATH_FAILING,
    ENGINE_FACTS_STALE,
    TARGET_DOWN,
    WATCHDOG,
    metric_vanished,
)
from vllm_fleet.observe.slo import objectives
from vllm_fleet.schema import Slo

__all__ = ["ALERTS", "GPU_LOST", "HOST_DOWN", "VLLM_SERVICE_DOWN", "WATCHDOG", "Alert", "Severity"]

_OF_SUBJECTS = (
    *(*service.ALERTS, *slo.ALERTS, *engine.ALERTS, *releases.ALERTS, *queue.ALERTS, *kv_cache.ALERTS),
    *(*gpu.ALERTS, *host.ALERTS, ALERT_PATH_FAILING, ENGINE_FACTS_STALE, TARGET_DOWN),
)
_QUERIES = [
    *(alert.condition for alert in _OF_SUBJECTS),
    *(query for objective in objectives("any", Slo()) for query in (objective.events, objective.bad)),
]

ALERTS: tuple[Alert, ...] = (*_OF_SUBJECTS, metric_vanished(_QUERIES), WATCHDOG)
