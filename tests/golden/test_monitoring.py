"""Prometheus', Alertmanager's and the node exporter's files, whole; their own tools check them.

Debian's promtool and amtool for the tests marked `tools`, of both releases: 2.42 and 2.53, 0.25 and 0.28.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.topology import RELEASES
from tests.fleets import example_fleet
from tests.tools import tool
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS, Severity
from vllm_fleet.observe.slo import recordings
from vllm_fleet.planner.placement import place
from vllm_fleet.render import monitoring
from vllm_fleet.render.files import File
from vllm_fleet.schema import Host, Monitoring
from vllm_fleet.schema.certificate import Certificate

WEBHOOKS: dict[Severity, str] = {"page": "https://pager.example/hook/s3cret", "watchdog": "https://beats.example/1"}


def prometheus() -> File:
    fleet = example_fleet()
    return monitoring.prometheus_file(fleet, place(fleet))


def test_prometheus(golden: Callable[[str, str], None]) -> None:
    golden("prometheus.yml", prometheus().content)


def test_rules(golden: Callable[[str, str], None]) -> None:
    golden("rules.yml", monitoring.rules_file(example_fleet()).content)


def test_alertmanager(golden: Callable[[str, str], None]) -> None:
    file = monitoring.alertmanager_file(WEBHOOKS)
    golden("alertmanager.yml", file.content)
    assert (file.mode, file.owner, file.group, file.secret) == ("0640", "root", "prometheus", True)


def test_start_of_each_daemon(golden: Callable[[str, str], None]) -> None:
    fleet = example_fleet()
    edge = fleet.host("edge1")
    files = [
        *monitoring.prometheus_start(fleet, edge),
        *monitoring.alertmanager_start(fleet, edge),
        *monitoring.node_exporter_start(fleet, fleet.host("gpu1")),
    ]
    golden("monitoring-start.txt", "\n".join(f"==> {file.path}\n{file.content}" for file in files))


def test_an_ipv6_host_listens_in_brackets() -> None:
    hosts = [*example_fleet().hosts[:2], Host(name="edge1", address="fd00::1", groups=("gateway", "monitoring"))]
    fleet = example_fleet(hosts=hosts, monitoring=Monitoring(prometheus_port=9191))
    arguments, _ = monitoring.prometheus_start(fleet, fleet.host("edge1"))
    assert "--web.listen-address=[fd00::1]:9191 " in arguments.content


def test_when_the_gateways_certificate_expires() -> None:
    expires = datetime(2027, 1, 31, 12, tzinfo=UTC)
    file = monitoring.gateway_metrics("llm.example.net", Certificate("", ("llm.example.net",), expires))
    assert (file.path, file.mode) == ("/var/lib/prometheus/node-exporter/vllm-fleet-gateway.prom", "0644")
    (family,) = text_string_to_metric_families(str(file.content))
    (sample,) = family.samples
    assert (family.type, sample.name) == ("gauge", metrics.CERTIFICATE_EXPIRY)
    assert (sample.labels, sample.value) == ({"certificate": "llm.example.net"}, expires.timestamp())


def test_a_gateway_without_a_certificate_has_no_series() -> None:
    """The file stays, for one that was left behind would go on telling of the last certificate."""
    file = monitoring.gateway_metrics("10.0.0.10", None)
    assert [family.samples for family in text_string_to_metric_families(str(file.content))] == []


@pytest.mark.tools
@pytest.mark.parametrize("release", RELEASES)
def test_promtool_accepts_configuration_and_rules(release: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    fleet = example_fleet()
    rules.write_text(monitoring.rules_file(fleet).content, encoding="utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(prometheus().content.replace(monitoring.RULES, str(rules)), encoding="utf-8")
    argv = [tool("promtool", release), "check", "config", config]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALERTS) + len(recordings(fleet.services))} rules found" in done.stdout


@pytest.mark.tools
@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("webhooks", [WEBHOOKS, {}], ids=["webhooks", "none"])
def test_amtool_accepts_the_configuration(webhooks: dict[Severity, str], release: str, tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(monitoring.alertmanager_file(webhooks).content, encoding="utf-8")
    argv = [tool("amtool", release), "check-config", config]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
