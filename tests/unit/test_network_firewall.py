"""Who may reach what, as rules."""

from __future__ import annotations

import pytest

from tests.fleets import example_fleet
from vllm_fleet.network.firewall import ANYWHERE, Rule, rules
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import Fleet, Gateway, Host, Monitoring, Secret


def of(fleet: Fleet, host: str) -> list[Rule]:
    return rules(fleet, place(fleet), fleet.host(host))


def ports_open_to(rules_: list[Rule], source: str) -> set[int | None]:
    return {port for rule in rules_ if source in rule.sources for port in (rule.ports or [None])}


def test_engines_of_a_host() -> None:
    assert of(example_fleet(), "gpu2") == [
        Rule("SSH", ANYWHERE, (22,)),
        Rule("chat from gateways, metrics", ("10.0.0.10/32",), (8000,)),
        Rule("coder-0 from gateways, metrics", ("10.0.0.10/32",), (8100,)),
        Rule("coder-1 from gateways, metrics", ("10.0.0.10/32",), (8101,)),
        Rule("large among its members", ("10.0.0.11/32",), None),
        Rule("weights for its peers", ("10.0.0.11/32",), (8900,)),
        Rule("node metrics", ("10.0.0.10/32",), (9100,)),
        Rule("GPU metrics", ("10.0.0.10/32",), (9400,)),
    ]


def test_gateway_and_monitoring_on_one_host() -> None:
    assert of(example_fleet(), "edge1") == [
        Rule("SSH", ANYWHERE, (22,)),
        Rule("clients of the gateway", ("10.0.0.0/8", "2001:db8::/32"), (8080,)),
        Rule("Prometheus and Alertmanager", ("10.0.0.11/32", "10.0.0.12/32", "10.9.0.0/24"), (9090, 9093)),
    ]


def test_gateway_and_monitoring_apart() -> None:
    hosts = [
        *example_fleet().hosts[:2],
        Host(name="gate1", address="10.0.0.20", groups=("gateway",)),
        Host(name="watch1", address="fd00::30", groups=("monitoring",), ssh_port=2222),
    ]
    fleet = example_fleet(hosts=hosts)
    assert ports_open_to(of(fleet, "gate1"), "fd00::30/128") == {9100, 8404}
    assert ports_open_to(of(fleet, "gpu1"), "fd00::30/128") == {8000, 8200, 9100, 9400}
    assert ports_open_to(of(fleet, "gpu1"), "10.0.0.20/32") == {8000, 8200}
    assert ports_open_to(of(fleet, "watch1"), "10.0.0.20/32") == {9090, 9093}
    assert ports_open_to(of(fleet, "watch1"), "0.0.0.0/0") == {2222}


@pytest.mark.parametrize("host", ["gpu1", "gpu2", "edge1"])
def test_only_ssh_and_the_gateway_are_open_to_others(host: str) -> None:
    fleet = example_fleet(
        gateway=Gateway(api_keys=[Secret(env="K")], clients=["0.0.0.0/0"]), monitoring=Monitoring(operators=[])
    )
    members = {f"{one.address}/32" for one in fleet.hosts}
    open_to_others = {
        port for rule in of(fleet, host) if not set(rule.sources) <= members for port in (rule.ports or [None])
    }
    assert open_to_others == ({22, 8080} if host == "edge1" else {22})


def test_a_network_inside_another_is_dropped() -> None:
    fleet = example_fleet(monitoring=Monitoring(operators=["10.0.0.0/24", "10.0.0.128/25", "fd00::/8"]))
    assert of(fleet, "edge1")[-1].sources == ("10.0.0.0/24", "fd00::/8")
