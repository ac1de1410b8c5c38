"""Every host: a firewall that drops what no rule of the fleet names, in a table of its own."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import apt

from vllm_fleet.network.firewall import rules
from vllm_fleet.operations import put_files, running
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.firewall import TABLE, UNIT, table_file, unit_file
from vllm_fleet.schema import Fleet


@deploy("Firewall")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The firewall of this host, loaded now and at boot."""
    apt.packages(name="Install nftables", packages=["nftables"], no_recommends=True)
    unit = put_files(name="Firewall's unit", files=[unit_file()])
    table = put_files(
        name="Firewall's rules",
        files=[table_file(rules(fleet, placements, fleet.host(host.name)))],
        check=f'nft --check --file "$stage{TABLE}"',
    )
    # a reload replaces the table in one transaction; a restart would open the host for a moment
    running(name="Firewall is loaded", unit=UNIT, reload_on=[unit, table])
