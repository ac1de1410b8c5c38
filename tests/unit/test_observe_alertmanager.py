"""Who is told, and what keeps silent."""

from __future__ import annotations

import json
import re

from vllm_fleet.observe.alertmanager import alertmanager_config
from vllm_fleet.observe.alerts import ALERTS


def test_a_severity_without_a_webhook_has_an_empty_receiver() -> None:
    receivers = alertmanager_config({"ticket": "https://tickets.example/x"})["receivers"]
    assert receivers == [
        {"name": "page"},
        {"name": "ticket", "webhook_configs": [{"url": "https://tickets.example/x", "send_resolved": True}]},
        {"name": "watchdog"},
    ]


def test_what_is_inhibited_names_alerts_that_exist() -> None:
    """What Alertmanager makes of the rules: tests/rules/test_routing.py."""
    names = [alert.name for alert in ALERTS]
    for rule in alertmanager_config({})["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, pattern = re.split("=~|!~|!=|=", matcher)
            assert label != "alertname" or any(re.fullmatch(json.loads(pattern), name) for name in names), matcher
