"""Which host copies a model's weights from which: one fetches from the hub, then each round doubles who has them."""

from __future__ import annotations

from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Host, Hub


def holders(placements: list[Placement], directory_name: str) -> list[Host]:
    """The hosts that need a model from the hub, each once, in the order of the placements; no other source needs it."""
    hosts = {
        one.host.name: one.host
        for one in placements
        if isinstance(one.service.model, Hub) and one.service.model.directory_name == directory_name
    }
    return list(hosts.values())


def source_of(hosts: list[Host], name: str) -> tuple[int, Host | None]:
    """The round in which a host gets the weights, and from whom; round 0 and None for who asks the origin.

    Host i copies from host i - 2^r in round r + 1, where 2^r is the largest power of two up to i: n hosts need
    1 + log2(n) rounds, and no link carries the weights twice in one round.
    """
    index = next((number for number, host in enumerate(hosts) if host.name == name), 0)
    if index == 0:
        return 0, None
    step = 1 << (index.bit_length() - 1)
    return index.bit_length(), hosts[index - step]


def rounds(placements: list[Placement]) -> int:
    """How many rounds it takes until every host has its weights."""
    models = {one.service.model.directory_name for one in placements}
    return 1 + max(((len(holders(placements, name)) - 1).bit_length() for name in models), default=0)


def sharers(placements: list[Placement], host: Host) -> list[Host]:
    """The other hosts that may ask this one for weights, because they need a model that it has."""
    models = {one.service.model.directory_name for one in placements if one.host == host}
    groups = [holders(placements, name) for name in sorted(models)]
    others = {peer.name: peer for group in groups for peer in group if host in group and peer != host}
    return list(others.values())
