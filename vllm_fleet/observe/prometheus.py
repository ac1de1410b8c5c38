"""Prometheus' configuration, as an object."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe.targets import Target
from vllm_fleet.schema import Fleet
from vllm_fleet.schema.host import MONITORING


def prometheus_config(fleet: Fleet, targets: list[Target], rule_file: str) -> dict[str, Any]:
    """The same on every monitoring host. Targets stand in the file itself: one file to check, one reload."""
    alertmanagers = [endpoint(host, fleet.monitoring.alertmanager_port) for host in fleet.hosts_in(MONITORING)]
    return {
        "global": {"scrape_interval": fleet.monitoring.scrape_interval, "evaluation_interval": "15s"},
        "rule_files": [rule_file],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]},
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [target.address], "labels": target.labels} for target in found],
            }
            for job, found in groupby(targets, key=lambda target: target.job)
        ],
    }
