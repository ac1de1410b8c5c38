"""The files that every contender places: `python -m bench.files DIRECTORY` writes them as DIRECTORY/HOST/etc/..."""

from __future__ import annotations

import sys
from pathlib import Path

from vllm_fleet.inventory import load
from vllm_fleet.network.firewall import rules
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render import base, firewall, gateway, monitoring
from vllm_fleet.render.files import File
from vllm_fleet.roles.engine import programs
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.host import GATEWAY, MONITORING

INVENTORY = "inventories/nodes.py"


def files_of(fleet: Fleet, placements: list[Placement], host: Host) -> list[File]:
    """All files of one plain host, as its roles place them."""
    wanted = [base.JOURNAL, base.LIMITS, base.SYSCTL, base.USER]
    wanted += [firewall.table_file(rules(fleet, placements, host)), firewall.unit_file(), *programs()]
    wanted += monitoring.node_exporter_start(fleet, host)
    if GATEWAY in host.groups:
        wanted += [gateway.gateway_config(fleet, placements, host)]
        wanted += gateway.key_files(fleet.client_keys(), fleet.engine_keys())
        wanted += [monitoring.gateway_metrics(fleet.gateway_name(host), fleet.certificate())]
    if MONITORING in host.groups:
        wanted += monitoring.prometheus_start(fleet, host) + monitoring.alertmanager_start(fleet, host)
        wanted += [monitoring.rules_file(fleet), monitoring.prometheus_file(fleet, placements)]
        wanted += [monitoring.alertmanager_file(fleet.webhooks())]
    return wanted


def main(directory: Path) -> None:
    fleet, placements = load(INVENTORY)
    for host in fleet.hosts:
        for file in files_of(fleet, placements, host):
            path = directory / host.name / file.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
