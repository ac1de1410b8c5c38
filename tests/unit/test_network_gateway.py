"""The gateway's backends."""

from __future__ import annotations

import pytest

from tests.fleets import example_fleet, service
from vllm_fleet.network.gateway import Backend, Server, backends
from vllm_fleet.planner.placement import place
from vllm_fleet.schema import ConfigError, Host


def test_one_server_a_replica() -> None:
    fleet = example_fleet()
    assert backends(fleet, place(fleet)) == (
        Backend(
            "chat",
            "meta-llama/Llama-3.1-8B-Instruct",
            (Server("gpu1", "10.0.0.11:8000"), Server("gpu2", "10.0.0.12:8000")),
        ),
        Backend("coder", "coder", (Server("gpu2.0", "10.0.0.12:8100"), Server("gpu2.1", "10.0.0.12:8101"))),
        Backend("large", "meta-llama/Llama-3.1-70B-Instruct", (Server("gpu1", "10.0.0.11:8200"),)),
    )


def test_ipv6_endpoint() -> None:
    hosts = [
        Host(name="gpu1", address="fd00::11", groups=("gpu",), gpus=1),
        Host(name="edge1", address="fd00::10", groups=("gateway", "monitoring")),
    ]
    fleet = example_fleet(hosts=hosts, services=[service("chat", "acme/tiny", hosts=["gpu1"])])
    assert backends(fleet, place(fleet))[0].servers == (Server("gpu1", "[fd00::11]:8000"),)


def test_a_service_named_like_the_api_is_refused() -> None:
    fleet = example_fleet(services=[service("v1", "acme/tiny", hosts=["gpu1"])])
    with pytest.raises(ConfigError, match=r"services\.v1\.name: .* choose another name"):
        backends(fleet, place(fleet))
