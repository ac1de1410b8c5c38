"""Who is told, and what keeps silent."""

from __future__ import annotations

from vllm_fleet.observe.alertmanager import alertmanager_config


def test_a_severity_without_a_webhook_has_an_empty_receiver() -> None:
    receivers = alertmanager_config({"ticket": "https://tickets.example/x"})["receivers"]
    assert receivers == [
        {"name": "page"},
        {"name": "ticket", "webhook_configs": [{"url": "https://tickets.example/x", "send_resolved": True}]},
        {"name": "watchdog"},
    ]


def test_a_dead_host_silences_its_own_alerts_and_a_dead_service_its_own() -> None:
    assert alertmanager_config({})["inhibit_rules"] == [
        {
            "source_matchers": ['alertname="HostDown"'],
            "target_matchers": ['alertname!~"HostDown|Watchdog"', 'host!=""'],
            "equal": ["host"],
        },
        {
            "source_matchers": ['alertname="VllmServiceDown"'],
            "target_matchers": ['alertname!~"VllmServiceDown|Watchdog"', 'service!=""'],
            "equal": ["service"],
        },
    ]
