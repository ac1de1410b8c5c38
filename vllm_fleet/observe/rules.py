"""Alerts as Prometheus rule groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vllm_fleet.observe.alerts import Alert


def rule_groups(alerts: Iterable[Alert]) -> dict[str, Any]:
    """The content of a rule file, one group."""
    return {"groups": [{"name": "vllm-fleet", "rules": [_rule(alert) for alert in alerts]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.condition,
        "for": alert.held,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook": alert.runbook},
    }
