"""Gateway hosts: HAProxy, the one door to all services."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import apt

from vllm_fleet.operations import put_files, running
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.gateway import CONFIG, gateway_config, key_files
from vllm_fleet.schema import Fleet


@deploy("Gateway")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The gateway of this host. A reload keeps running streams on the old process until they end."""
    apt.packages(name="Install HAProxy", packages=["haproxy"], no_recommends=True)
    # first, for checking the configuration reads them
    keys = put_files(name="Gateway's keys", files=key_files(fleet.client_keys(), fleet.engine_keys()))
    config = put_files(
        name="Gateway's configuration",
        files=[gateway_config(fleet, placements, fleet.host(host.name))],
        check=f'haproxy -c -f "$stage{CONFIG}"',
    )
    running(name="Gateway runs", unit="haproxy.service", reload_on=[keys, config])
