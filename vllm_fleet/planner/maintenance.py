"""In which order hosts are taken out of service, and what nobody serves meanwhile; from declared data alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vllm_fleet.planner.placement import Placement, heads
from vllm_fleet.schema import Host


def rounds(placements: Sequence[Placement], hosts: Sequence[Host]) -> list[tuple[str, ...]]:
    """Names of hosts by round: one host at a time, but the hosts of a replica that spans several at once, for it is
    away in any case. Where that would take the last replica of another service, they too go one by one."""
    left = [host.name for host in hosts]
    order: list[tuple[str, ...]] = []
    while left:
        together = _together(placements, left[0], left)
        order.append(together)
        left = [name for name in left if name not in together]
    return order


def _together(placements: Sequence[Placement], name: str, left: Sequence[str]) -> tuple[str, ...]:
    alone = (name,)
    for placement in placements:
        members = tuple(host.name for host in placement.members)
        if name not in members or len(members) == 1 or not set(members) <= set(left):
            continue
        singly = {service for member in members for service in interrupted(placements, [member])}
        if set(interrupted(placements, members)) <= singly:
            return members
    return alone


def interrupted(placements: Sequence[Placement], names: Collection[str]) -> list[str]:
    """The services all of whose replicas need one of these hosts, in the fleet's order."""
    services = dict.fromkeys(placement.service.name for placement in placements)
    return [service for service in services if all(_needs(head, names) for head in heads([*placements], service))]


def replicas_on(placements: Sequence[Placement], name: str) -> list[Placement]:
    """The engines that answer for every replica which has a member on this host."""
    return [placement for placement in placements if placement.head and _needs(placement, [name])]


def _needs(head: Placement, names: Collection[str]) -> bool:
    return any(member.name in names for member in head.members)
