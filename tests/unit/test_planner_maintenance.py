"""The order in which hosts are taken out of service."""

from __future__ import annotations

from typing import Any

from tests.fleets import example_fleet, service
from vllm_fleet.planner.maintenance import interrupted, replicas_on, rounds
from vllm_fleet.planner.placement import Placement, place
from vllm_fleet.schema import Fleet, Host

NAMES = ("gpu1", "gpu2", "gpu3", "gpu4")
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def fleet(*services: Any) -> Fleet:
    gpus = [
        Host(name=name, address=f"10.0.0.{number}", groups=("gpu",), gpus=8, interface="eth0")
        for number, name in enumerate(NAMES, 1)
    ]
    return example_fleet(hosts=[*gpus, Host(name="ops", address="10.0.1.1", groups=("gateway", "monitoring"))],
                         services=[*services])  # fmt: skip


def pair(name: str, *hosts: str, replicas: int = 1, port: int = 8200) -> Any:
    return service(
        name, LLAMA, hosts=[*hosts], nodes=2, tensor_parallel_size=2, replicas=replicas, port=port,
        master_port=21_000 + port, group_port=22_000 + port, served_name=name,
    )  # fmt: skip


def order(*services: Any) -> tuple[list[tuple[str, ...]], list[Placement]]:
    declared = fleet(*services)
    placements = place(declared)
    return rounds(placements, declared.hosts_in("gpu")), placements


def test_one_host_at_a_time_whether_it_has_engines_or_not() -> None:
    found, _ = order(service("chat", LLAMA, hosts=["gpu1", "gpu2"], replicas=2))
    assert found == [("gpu1",), ("gpu2",), ("gpu3",), ("gpu4",)]


def test_the_hosts_of_one_replica_together() -> None:
    found, _ = order(pair("large", "gpu2", "gpu4"))
    assert found == [("gpu1",), ("gpu2", "gpu4"), ("gpu3",)]


def test_each_replica_over_several_hosts_in_a_round_of_its_own() -> None:
    found, placements = order(pair("large", *NAMES, replicas=2))
    assert found == [("gpu1", "gpu2"), ("gpu3", "gpu4")]
    assert all(not interrupted(placements, together) for together in found)


def test_host_by_host_where_another_service_would_lose_its_last_replica() -> None:
    chat = service("chat", LLAMA, hosts=["gpu1", "gpu2"], replicas=2)
    found, placements = order(chat, pair("large", "gpu1", "gpu2"))
    assert found == [("gpu1",), ("gpu2",), ("gpu3",), ("gpu4",)]
    assert interrupted(placements, ["gpu1"]) == ["large"]
    assert interrupted(placements, ["gpu1", "gpu2"]) == ["chat", "large"]


def test_together_where_the_other_service_is_lost_with_either_host_alone() -> None:
    found, placements = order(service("chat", LLAMA, hosts=["gpu1"]), pair("large", "gpu1", "gpu2"))
    assert found[0] == ("gpu1", "gpu2")
    assert interrupted(placements, found[0]) == ["chat", "large"]


def test_every_host_has_exactly_one_round_where_replicas_overlap() -> None:
    found, _ = order(pair("one", "gpu1", "gpu2"), pair("two", "gpu2", "gpu3", port=8300))
    assert sorted(name for together in found for name in together) == [*NAMES]
    assert found[0] == ("gpu1", "gpu2")


def test_a_replica_counts_on_all_its_hosts() -> None:
    _, placements = order(service("chat", LLAMA, hosts=["gpu2"]), pair("large", "gpu1", "gpu2"))
    assert [head.service.name for head in replicas_on(placements, "gpu2")] == ["chat", "large"]
    # the follower's host: the engine that answers stands on the other one
    assert [(head.service.name, head.host.name) for head in replicas_on(placements, "gpu2")][1] == ("large", "gpu1")
    assert replicas_on(placements, "gpu3") == []
