"""Monitoring: everything that was deployed is scraped, the alerts are loaded, and somebody is there to be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.host.machine import Machine
from vllm_fleet import paths
from vllm_fleet.engine.release import configuration, release_id
from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import ALERTS
from vllm_fleet.observe.targets import targets
from vllm_fleet.render import engine_facts, gpu_exporter
from vllm_fleet.render import monitoring as rendered

_SECONDS = 60
"""How long a scrape may take to show after a deploy: a few scrape intervals and the evaluation of the rules."""


def _prometheus(monitor: Machine, path: str) -> Any:
    answer = monitor.http("GET", monitor.here.address, monitor.fleet.monitoring.prometheus_port, path)
    assert answer.status == 200, path
    return answer.json()["data"]


def _query(monitor: Machine, expression: str) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = _prometheus(monitor, f"/api/v1/query?query={quote(expression)}")["result"]
    return result


def _eventually(look: Callable[[], Any], wanted: Any) -> Any:
    """What `look` says, once it is what is wanted, and at the latest after `_SECONDS`."""
    end = time.monotonic() + _SECONDS
    while (seen := look()) != wanted and time.monotonic() < end:
        time.sleep(1)  # until the next scrape; bounded above
    return seen


def test_every_host_has_its_exporter(machine: Machine) -> None:
    service = machine.shell.service(rendered.NODE_EXPORTER)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("unit", [rendered.PROMETHEUS, rendered.ALERTMANAGER])
def test_the_watchers_run_and_start_at_boot(monitor: Machine, unit: str) -> None:
    service = monitor.shell.service(unit)
    assert service.is_running
    assert service.is_enabled


def test_the_configuration_is_valid(monitor: Machine) -> None:
    monitor.run(f"promtool check config {rendered.PROMETHEUS_CONFIG}")
    monitor.run(f"amtool check-config {rendered.ALERTMANAGER_CONFIG}")


def test_prometheus_runs_with_the_configuration_on_disk(monitor: Machine) -> None:
    placed = int(monitor.run(f"stat -c %Y {rendered.PROMETHEUS_CONFIG}"))

    def is_loaded() -> bool:
        # asked of the process: what it scraped of itself is older, and its package's own configuration left a series
        page = monitor.http("GET", monitor.here.address, monitor.fleet.monitoring.prometheus_port, "/metrics").text
        name = "prometheus_config_last_reload_success_timestamp_seconds"
        [loaded] = [line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")]
        return float(loaded) >= placed

    assert _eventually(is_loaded, True) is True


def test_every_target_is_up(monitor: Machine) -> None:
    scraped = targets(monitor.fleet, monitor.placements, release_id, configuration)
    wanted = {target.address: "up" for target in scraped}

    def health() -> dict[str, str]:
        active = _prometheus(monitor, "/api/v1/targets?state=active")["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in active}

    assert _eventually(health, wanted) == wanted


def test_every_replica_tells_its_kv_cache(monitor: Machine) -> None:
    wanted = {(engine.service.name, str(engine.replica)) for engine in monitor.placements if engine.head}

    def seen() -> set[tuple[str, str]]:
        samples = _query(monitor, "vllm:kv_cache_usage_perc")
        return {(sample["metric"]["service"], sample["metric"]["replica"]) for sample in samples}

    assert _eventually(seen, wanted) == wanted


def test_every_gpu_that_is_declared_is_seen(monitor: Machine) -> None:
    wanted = {host.name: host.gpus for host in monitor.fleet.hosts if host.gpus}

    def seen() -> dict[str, int]:
        samples = _query(monitor, "nvml_gpus_visible == nvml_gpus_declared and nvml_kernel_log_followed == 1")
        return {sample["metric"]["host"]: int(sample["value"][1]) for sample in samples}

    assert _eventually(seen, wanted) == wanted


def test_every_gateway_tells_when_its_certificate_expires(monitor: Machine) -> None:
    certificate = monitor.fleet.certificate()
    wanted = {host.name: certificate.expires.timestamp() for host in monitor.fleet.hosts_in("gateway") if certificate}

    def seen() -> dict[str, float]:
        return {
            sample["metric"]["host"]: float(sample["value"][1])
            for sample in _query(monitor, metrics.CERTIFICATE_EXPIRY)
        }

    assert _eventually(seen, wanted) == wanted


@pytest.mark.parametrize("metric", [metrics.UNIT_STATE, metrics.UNIT_RESTARTS])
def test_every_engines_unit_is_watched(monitor: Machine, metric: str) -> None:
    wanted = {(engine.host.name, engine.unit) for engine in monitor.placements}

    def seen() -> set[tuple[str, str]]:
        samples = _query(monitor, f"{metric}{{{metrics.ENGINE_UNITS}}}")
        return {(sample["metric"]["host"], sample["metric"]["name"]) for sample in samples}

    assert _eventually(seen, wanted) == wanted


@pytest.mark.parametrize(
    "expression",
    [
        f"{metrics.PROBE_SUCCESS} == 1",
        f"{metrics.KV_CACHE_TOKENS} > 0",
        f"time() - {metrics.FACTS_TIMESTAMP} < 60",
        'vllm_fleet_engine_phase_info{phase="serving"}',
    ],
)
def test_every_replica_has_facts(monitor: Machine, expression: str) -> None:
    wanted = {(engine.host.name, engine.unit) for engine in monitor.placements if engine.head}

    def seen() -> set[tuple[str, str]]:
        found = {(sample["metric"]["host"], sample["metric"]["unit"]) for sample in _query(monitor, expression)}
        return found & wanted  # the other ranks of a model that spans hosts have some of them, too

    assert _eventually(seen, wanted) == wanted


def test_every_engine_runs_the_release_that_is_declared(monitor: Machine) -> None:
    wanted = {(engine.host.name, engine.unit, release_id(engine)) for engine in monitor.placements}

    def seen(metric: str) -> set[tuple[str, str, str]]:
        labels = [sample["metric"] for sample in _query(monitor, metric)]
        return {(each["host"], each["unit"], each["release"]) for each in labels}

    assert _eventually(lambda: seen(metrics.ENGINE_INFO), wanted) == wanted
    assert _eventually(lambda: seen(metrics.RUNNING_INFO), wanted) == wanted


def test_declared_replicas_are_told(monitor: Machine) -> None:
    wanted = {service.name: service.replicas for service in monitor.fleet.services}

    def seen() -> dict[str, int]:
        samples = _query(monitor, f"max by (service) ({metrics.SERVICE_REPLICAS})")
        return {sample["metric"]["service"]: int(sample["value"][1]) for sample in samples}

    assert _eventually(seen, wanted) == wanted


def test_facts_of_engines_come_from_their_own_user_who_listens_nowhere(gpu: Machine) -> None:
    service = gpu.shell.service(engine_facts.UNIT)
    assert service.is_running
    assert service.is_enabled
    pid = gpu.run(f"systemctl show --property=MainPID --value {engine_facts.UNIT}")
    assert gpu.run(f"ps -o uid= -p {pid}").strip() == str(paths.SERVICE_UID)
    assert not gpu.succeeds(f"ss -Hltunp | grep 'pid={pid},'")


def test_every_text_file_is_read(machine: Machine) -> None:
    page = machine.http("GET", machine.here.address, machine.fleet.monitoring.node_exporter_port, "/metrics").text
    assert "\nnode_textfile_scrape_error 0\n" in page


def test_the_alerts_are_loaded_and_can_be_evaluated(monitor: Machine) -> None:
    wanted = {alert.name: "ok" for alert in ALERTS}

    def health() -> dict[str, str]:
        groups = _prometheus(monitor, "/api/v1/rules?type=alert")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    assert _eventually(health, wanted) == wanted
    assert {"KvCacheHigh", "VllmDown"} <= set(wanted)


def test_alertmanager_is_ready_and_known_to_prometheus(monitor: Machine) -> None:
    port = monitor.fleet.monitoring.alertmanager_port
    assert monitor.http("GET", monitor.here.address, port, "/-/ready").status == 200
    known = _prometheus(monitor, "/api/v1/alertmanagers")
    addresses = {url["url"].split("/")[2] for url in known["activeAlertmanagers"]}
    assert addresses == {endpoint(host, port) for host in monitor.fleet.hosts_in("monitoring")}


@pytest.mark.parametrize("name", ["prometheus_port", "alertmanager_port"])
def test_the_watchers_listen_on_the_private_address_only(monitor: Machine, name: str) -> None:
    port = getattr(monitor.fleet.monitoring, name)
    listening = monitor.run(f"ss -Hltn 'sport = :{port}'").splitlines()
    assert {line.split()[3] for line in listening} == {endpoint(monitor.here, port)}


def test_the_gpu_exporter_runs_as_nobody_on_the_private_address_only(gpu: Machine) -> None:
    if not gpu.here.gpus:
        pytest.skip("no GPUs are declared for this host")
    port = gpu.fleet.monitoring.gpu_exporter_port
    listening = gpu.run(f"ss -Hltn 'sport = :{port}'").splitlines()
    assert {line.split()[3] for line in listening} == {endpoint(gpu.here, port)}
    pid = gpu.run(f"systemctl show --property=MainPID --value {gpu_exporter.UNIT}")
    assert gpu.run(f"ps -o user= -p {pid}").strip() != "root"


def test_webhooks_are_not_for_everyone(monitor: Machine) -> None:
    assert monitor.shell.file(rendered.ALERTMANAGER_CONFIG).mode == 0o640
