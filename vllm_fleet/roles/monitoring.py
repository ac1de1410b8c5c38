"""Every host: the node exporter. Monitoring hosts: Prometheus and Alertmanager."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import apt

from vllm_fleet.operations import put_files, running
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render import monitoring as render
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.host import MONITORING


def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """This host's part in watching the fleet."""
    here = fleet.host(host.name)
    node_exporter(fleet, here)
    if MONITORING in here.groups:
        alertmanager(fleet, here)
        prometheus(fleet, placements, here)


@deploy("Node exporter")
def node_exporter(fleet: Fleet, here: Host) -> None:
    """CPU, memory, disk and network of this host."""
    apt.packages(name="Install the node exporter", packages=[render.NODE_EXPORTER], no_recommends=True)
    start = put_files(name="Node exporter's arguments", files=render.node_exporter_start(fleet, here))
    running(name="Node exporter runs", unit=f"{render.NODE_EXPORTER}.service", restart_on=[start])


@deploy("Alertmanager")
def alertmanager(fleet: Fleet, here: Host) -> None:
    """Sends alerts on."""
    apt.packages(name="Install Alertmanager", packages=[render.ALERTMANAGER], no_recommends=True)
    start = put_files(name="Alertmanager's arguments", files=render.alertmanager_start(fleet, here))
    config = put_files(
        name="Alertmanager's configuration",
        files=[render.alertmanager_file(fleet.webhooks())],
        check=f'amtool check-config "$stage{render.ALERTMANAGER_CONFIG}"',
    )
    running(
        name="Alertmanager runs",
        unit=f"{render.ALERTMANAGER}.service",
        restart_on=[start],
        reload_on=[config],
    )


@deploy("Prometheus")
def prometheus(fleet: Fleet, placements: list[Placement], here: Host) -> None:
    """Scrapes the fleet and evaluates the alerts."""
    apt.packages(name="Install Prometheus", packages=[render.PROMETHEUS], no_recommends=True)
    start = put_files(name="Prometheus' arguments", files=render.prometheus_start(fleet, here))
    # rules first: checking the configuration reads them
    rules = put_files(
        name="Alert rules", files=[render.rules_file()], check=f'promtool check rules "$stage{render.RULES}"'
    )
    config = put_files(
        name="Prometheus' configuration",
        files=[render.prometheus_file(fleet, placements)],
        check=f'promtool check config "$stage{render.PROMETHEUS_CONFIG}"',
    )
    running(
        name="Prometheus runs",
        unit=f"{render.PROMETHEUS}.service",
        restart_on=[start],
        reload_on=[rules, config],
    )
