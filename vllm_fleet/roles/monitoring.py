"""Every host: the node exporter. Hosts with GPUs: the GPU exporter. Hosts of engines: facts of those. Monitoring hosts:
Prometheus, Alertmanager, Grafana.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet import paths
from vllm_fleet.operations import run_unless, tree
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render import engine_facts as facts
from vllm_fleet.render import gpu_exporter as render_gpu
from vllm_fleet.render import grafana as render_grafana
from vllm_fleet.render import monitoring as render
from vllm_fleet.schema import Fleet, Grafana, Host
from vllm_fleet.schema.host import GATEWAY, GPU, MONITORING
from vllm_fleet.tree import Unit


def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """This host's part in watching the fleet."""
    here = fleet.host(host.name)
    exporter(fleet, here)
    if here.gpus:
        gpu_exporter(fleet, here)
    if GPU in here.groups:
        engine_facts(fleet, placements, here)
    if MONITORING in here.groups:
        monitor(fleet, placements, here)
    if MONITORING in here.groups and fleet.monitoring.grafana:
        grafana(fleet, fleet.monitoring.grafana, here)


@deploy("Node exporter")
def exporter(fleet: Fleet, here: Host) -> None:
    """CPU, memory, disk and network of this host, and when a gateway's certificate expires."""
    start = render.node_exporter_start(fleet, here)
    gateway = [render.gateway_metrics(fleet.gateway_name(here), fleet.certificate())] if GATEWAY in here.groups else []
    tree(
        name="Node exporter",
        packages=[render.NODE_EXPORTER],
        entries=[*start, *gateway],
        units=[Unit(f"{render.NODE_EXPORTER}.service", restart_on=(*start,))],
    )


@deploy("GPU exporter")
def gpu_exporter(fleet: Fleet, here: Host) -> None:
    """What NVML says of this host's GPUs."""
    program, unit = render_gpu.program_file(), render_gpu.unit_file(fleet, here)
    tree(
        name="GPU exporter",
        entries=[program, unit],
        check=render_gpu.CHECK,
        units=[Unit(render_gpu.UNIT, restart_on=(program, unit))],
    )


@deploy("Engine facts")
def engine_facts(fleet: Fleet, placements: list[Placement], here: Host) -> None:
    """What is declared of this host's engines, and what they are and do, shown by the node exporter."""
    program, unit = facts.program_file(), facts.unit_file()
    tree(
        name="Engine facts",
        entries=[program, unit, facts.declared_file(fleet, placements, here), facts.LINK],
        check=facts.CHECK,
        units=[Unit(facts.UNIT, restart_on=(program, unit))],
    )


@deploy("Monitoring")
def monitor(fleet: Fleet, placements: list[Placement], here: Host) -> None:
    """Prometheus scrapes the fleet and evaluates the alerts; Alertmanager sends them on."""
    prometheus_start, alertmanager_start = render.prometheus_start(fleet, here), render.alertmanager_start(fleet, here)
    prometheus, alertmanager = render.prometheus_file(fleet, placements), render.alertmanager_file(fleet.webhooks())
    rules = render.rules_file(fleet)
    tree(
        name="Prometheus and Alertmanager",
        packages=[render.PROMETHEUS, render.ALERTMANAGER],
        entries=[*prometheus_start, *alertmanager_start, rules, prometheus, alertmanager, facts.services_file(fleet)],
        check=render.CHECK,
        units=[
            Unit(f"{render.PROMETHEUS}.service", (*prometheus_start,), reload_on=(rules, prometheus)),
            Unit(f"{render.ALERTMANAGER}.service", (*alertmanager_start,), reload_on=(alertmanager,)),
        ],
    )


@deploy("Grafana")
def grafana(fleet: Fleet, wanted: Grafana, here: Host) -> None:
    """Grafana shows what this host's Prometheus knows. New dashboards it finds by itself."""
    tree(name="Grafana's package source", entries=render_grafana.package_files(wanted))
    password = render_grafana.password_file(fleet.grafana_password())
    start = render_grafana.start_files(fleet, wanted, here)
    tree(
        name="Grafana",
        packages=[render_grafana.PACKAGE],
        entries=[password, *start, *render_grafana.dashboard_files()],
        check=render_grafana.CHECK,
        units=[Unit(render_grafana.UNIT, restart_on=(*start,))],
        owns=[paths.DASHBOARDS],
    )
    # Grafana itself reads the password once, when it makes its database
    run_unless(
        name="Grafana's password",
        command=render_grafana.set_password(wanted, here),
        test=render_grafana.PASSWORD_IS_SET,
    )
