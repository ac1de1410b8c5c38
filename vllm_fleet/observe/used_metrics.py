"""Which of vLLM's metrics the alerts ask for, themselves or through recordings."""

from __future__ import annotations

from collections.abc import Iterable

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.slo import objectives
from vllm_fleet.schema import Slo


def used_metrics(alerts: Iterable[Alert] = ALERTS) -> dict[str, str]:
    """The names of vLLM's series in all queries, each with the alert or objective that asks for it first."""
    asked = [(f"slo.{each.name}", f"{each.events} {each.bad}") for each in objectives("any", Slo())]
    asked += [(f"alerts.{alert.name}", alert.condition) for alert in alerts]
    used: dict[str, str] = {}
    for path, query in asked:
        for name in metrics.metrics_in(query):
            if name.startswith("vllm:"):
                used.setdefault(name, path)
    return used
