"""Alertmanager's configuration, as an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import GPU_LOST, HOST_DOWN, VLLM_SERVICE_DOWN, WATCHDOG, Severity
from vllm_fleet.observe.alerts.slo import BURNS


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
            _inhibit(GPU_LOST.name, metrics.HOST, metrics.GPU),
            *_inhibit_slower_burns(),
        ],
        "receivers": [_receiver(severity, webhooks.get(severity)) for severity in get_args(Severity)],
    }


def _inhibit(cause: str, *labels: str) -> dict[str, Any]:
    """While `cause` fires, what else fires with the same labels is a consequence and stays silent."""
    return {
        "source_matchers": [f'alertname="{cause}"'],
        # an absent label would equal an absent one
        "target_matchers": [f'alertname!~"{cause}|{WATCHDOG.name}"', *(f'{label}!=""' for label in labels)],
        "equal": list(labels),
    }


def _inhibit_slower_burns() -> list[dict[str, Any]]:
    """A budget that burns fast also burns slowly: of one objective only the most urgent is told."""
    names = [burn.name for burn in BURNS]
    return [
        {
            "source_matchers": [f'alertname=~".+{name}"'],
            "target_matchers": [f'alertname=~".+({"|".join(names[place:])})"'],
            "equal": [metrics.SERVICE, metrics.SLO],
        }
        for place, name in enumerate(names[:-1], start=1)
    ]


def _receiver(severity: Severity, url: str | None) -> dict[str, Any]:
    if url is None:
        return {"name": severity}
    # a dead-man's switch wants beats, not the news that one has ended
    return {"name": severity, "webhook_configs": [{"url": url, "send_resolved": severity != "watchdog"}]}
