"""Gateway hosts: HAProxy, the one door to all services."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet.operations import tree
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.gateway import CHECK, KEYS, certificate_file, gateway_config, key_files
from vllm_fleet.schema import Fleet
from vllm_fleet.tree import Unit


@deploy("Gateway")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The gateway of this host. A reload keeps running streams on the old process until they end."""
    config = gateway_config(fleet, placements, fleet.host(host.name))
    keys = key_files(fleet.client_keys(), fleet.engine_keys())
    if certificate := fleet.certificate():
        keys.append(certificate_file(certificate))
    tree(
        name="HAProxy",
        packages=["haproxy"],
        entries=[config, *keys],
        check=CHECK,
        units=[Unit("haproxy.service", reload_on=(config, *keys))],
        owns=[KEYS],
    )
