"""Recordings and alerts as Prometheus rule groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vllm_fleet.observe.alerts import Alert
from vllm_fleet.observe.grafana import dashboard_path
from vllm_fleet.observe.slo import Recording


def rule_groups(recordings: Iterable[Recording], alerts: Iterable[Alert]) -> dict[str, Any]:
    """The content of a rule file."""
    return {
        "groups": [
            {"name": "vllm-fleet-slo", "interval": "1m", "rules": [_recording(each) for each in recordings]},
            {"name": "vllm-fleet", "rules": [_alert(alert) for alert in alerts]},
        ]
    }


def _recording(recording: Recording) -> dict[str, Any]:
    rule: dict[str, Any] = {"record": recording.name, "expr": recording.query}
    return rule | ({"labels": recording.labels} if recording.labels else {})


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.condition,
        "for": alert.held,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "action": alert.action,
            "runbook": alert.runbook,
            "dashboard": dashboard_path(alert),
        },
    }
