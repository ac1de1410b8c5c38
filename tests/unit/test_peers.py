"""Who copies weights from whom."""

from __future__ import annotations

import pytest

from vllm_fleet.planner import place
from vllm_fleet.planner.peers import holders, rounds, sharers, source_of
from vllm_fleet.schema import Archive, Container, Fleet, Gateway, Host, Hub, Monitoring, Secret, Service

MODEL = Hub(name="meta-llama/Llama-3.1-8B-Instruct", revision="a" * 40)
SENT = Archive(name="own", path="own.tar", sha256="b" * 64)


def fleet(count: int, model: Hub | Archive = MODEL) -> Fleet:
    hosts = [Host(name=f"gpu-{n}", address=f"10.0.0.{n + 1}", groups=("gpu",), gpus=1) for n in range(count)]
    ops = Host(name="ops-1", address="10.0.1.1", groups=("gateway", "monitoring"))
    service = Service(
        name="chat",
        model=model,
        runtime=Container(image=f"registry.example/vllm@sha256:{'1' * 64}", vllm="0.33"),
        hosts=[host.name for host in hosts],
        replicas=count,
        api_key=Secret(env="KEY"),
    )
    gateway = Gateway(api_keys=[Secret(env="KEY")])
    return Fleet(hosts=[*hosts, ops], services=[service], gateway=gateway, monitoring=Monitoring())


@pytest.mark.parametrize("count, wanted", [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 4), (9, 5)])
def test_each_round_doubles_who_has_them(count: int, wanted: int) -> None:
    placements = place(fleet(count))
    hosts = holders(placements, MODEL.directory_name)
    turns = [source_of(hosts, host.name) for host in hosts]
    assert [peer is None for _, peer in turns] == [True] + [False] * (count - 1)
    have = {hosts[0].name}
    for number in range(1, wanted):
        peers = [peer.name for turn, peer in turns if turn == number and peer]
        assert set(peers) <= have, "only who has them gives them on"
        assert len(set(peers)) == len(peers), "no link carries them twice in a round"
        have |= {host.name for host, (turn, _) in zip(hosts, turns, strict=True) if turn == number}
    assert have == {host.name for host in hosts}
    assert rounds(placements) == wanted


def test_only_weights_from_the_hub_are_copied() -> None:
    placements = place(fleet(2, SENT))
    assert holders(placements, SENT.directory_name) == []
    assert source_of([], "gpu-1") == (0, None)


def test_only_hosts_of_the_same_model_may_ask() -> None:
    whole = fleet(3)
    placements = place(whole)
    assert [host.name for host in sharers(placements, whole.host("gpu-1"))] == ["gpu-0", "gpu-2"]
    assert sharers(placements, whole.host("ops-1")) == []
    assert sharers(place(fleet(2, SENT)), fleet(2, SENT).host("gpu-1")) == []
