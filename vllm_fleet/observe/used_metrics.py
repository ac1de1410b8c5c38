"""Which of vLLM's metrics the alerts ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vllm_fleet.observe.alerts import ALERTS, Alert

_VLLM = re.compile(r"\bvllm:[a-zA-Z0-9_:]+")


def used_metrics(alerts: Iterable[Alert] = ALERTS) -> dict[str, str]:
    """The names of vLLM's series in all queries, each with the alert that asks for it first."""
    used: dict[str, str] = {}
    for alert in alerts:
        for name in _VLLM.findall(alert.query):
            used.setdefault(name, f"alerts.{alert.name}")
    return used
