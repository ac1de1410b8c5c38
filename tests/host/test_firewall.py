"""The firewall: an engine is reached by gateways, monitoring and its own replica's members, by nobody else."""

from __future__ import annotations

import json

import pytest

from tests.host.conftest import Engine
from tests.host.machine import Machine
from vllm_fleet.render.firewall import UNIT
from vllm_fleet.schema.host import GATEWAY, MONITORING


def test_the_table_is_loaded_and_drops_what_no_rule_names(machine: Machine) -> None:
    table = json.loads(machine.run("nft --json list table inet vllm_fleet"))["nftables"]
    (chain,) = [item["chain"] for item in table if "chain" in item and item["chain"]["name"] == "input"]
    assert (chain["hook"], chain["policy"]) == ("input", "drop")


def test_the_table_is_loaded_at_boot(machine: Machine) -> None:
    service = machine.shell.service(UNIT)
    assert service.is_running
    assert service.is_enabled


def test_hosts_that_need_an_engine_reach_it(engine: Engine, machines: list[Machine]) -> None:
    if not engine.placement.head:
        pytest.skip("a follower has no API")
    placement = engine.placement
    reached = [str(machine) for machine in machines if machine.can_connect(placement.host.address, placement.port)]
    wanted = [str(machine) for machine in machines if _may_reach(machine, engine)]
    assert reached == wanted


def test_a_host_does_not_answer_on_a_port_nobody_opened(machines: list[Machine]) -> None:
    """The drop itself, not only that nothing listens: a listener is put on an unused port for the test."""
    if len(machines) < 2:
        pytest.skip("needs two hosts")
    asked, asking = machines[0], machines[-1]
    port = 18999
    listener = f"timeout 30 python3 -m http.server --bind {asked.here.address} {port} >/dev/null 2>&1"
    asked.run(f"setsid bash -c '{listener}' >/dev/null 2>&1 & for i in $(seq 50); do "
              f"ss -Hltn 'sport = :{port}' | grep -q . && exit 0; sleep 0.1; done; exit 1")  # fmt: skip
    members = [placement.members for placement in asked.engines if asking.here in placement.members]
    assert asked.can_connect(asked.here.address, port)
    assert asking.can_connect(asked.here.address, port) is bool(members)


def _may_reach(machine: Machine, engine: Engine) -> bool:
    groups = {GATEWAY, MONITORING}
    # members of any replica that the two hosts share may speak on every port
    shared = any(machine.here in placement.members for placement in engine.on.engines)
    return machine.here.name == engine.on.here.name or bool(groups & set(machine.here.groups)) or shared
