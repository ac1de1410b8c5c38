"""Alertmanager's configuration, as an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import HOST_DOWN, VLLM_SERVICE_DOWN, WATCHDOG, Severity


def alertmanager_config(webhooks: Mapping[str, str]) -> dict[str, Any]:
    """One receiver a severity; one without a webhook only shows its alerts in Alertmanager.

    The URLs stand in the object itself (`url_file` came with Alertmanager 0.26, Debian 12 ships 0.25), so all of
    it is secret.
    """
    return {
        "route": {
            "receiver": "ticket",
            "group_by": ["alertname", metrics.SERVICE],
            "group_wait": "30s",
            "group_interval": "5m",
            "repeat_interval": "12h",
            "routes": [
                {"receiver": "page", "matchers": ['severity="page"'], "group_wait": "10s", "repeat_interval": "1h"},
                {
                    "receiver": "watchdog",
                    "matchers": ['severity="watchdog"'],
                    "group_wait": "0s",
                    "group_interval": "1m",
                    "repeat_interval": "1m",
                },
            ],
        },
        "inhibit_rules": [
            _inhibit(HOST_DOWN.name, metrics.HOST),
            _inhibit(VLLM_SERVICE_DOWN.name, metrics.SERVICE),
        ],
        "receivers": [_receiver(severity, webhooks.get(severity)) for severity in get_args(Severity)],
    }


def _inhibit(cause: str, label: str) -> dict[str, Any]:
    """While `cause` fires, what else fires with the same label is a consequence and stays silent."""
    return {
        "source_matchers": [f'alertname="{cause}"'],
        # an absent label would equal an absent one
        "target_matchers": [f'alertname!~"{cause}|{WATCHDOG.name}"', f'{label}!=""'],
        "equal": [label],
    }


def _receiver(severity: Severity, url: str | None) -> dict[str, Any]:
    if url is None:
        return {"name": severity}
    # a dead-man's switch wants beats, not the news that one has ended
    return {"name": severity, "webhook_configs": [{"url": url, "send_resolved": severity != "watchdog"}]}
