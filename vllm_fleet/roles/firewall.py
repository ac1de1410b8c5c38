"""Every host: a firewall that drops what no rule of the fleet names, in a table of its own."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet.network.firewall import rules
from vllm_fleet.operations import tree
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.firewall import TABLE, UNIT, table_file, unit_file
from vllm_fleet.schema import Fleet
from vllm_fleet.tree import Unit


@deploy("Firewall")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The firewall of this host, loaded now and at boot."""
    table, unit = table_file(rules(fleet, placements, fleet.host(host.name))), unit_file()
    tree(
        name="Rules",
        packages=["nftables"],
        entries=[table, unit],
        check=f'nft --check --file "$stage{TABLE}"',
        # a reload replaces the table in one transaction; a restart would open the host for a moment
        units=[Unit(UNIT, reload_on=(table, unit))],
    )
