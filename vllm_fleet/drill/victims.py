"""Which hosts and engines of a fleet a drill takes."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_fleet.planner.placement import Placement, heads, ranks_of
from vllm_fleet.schema import ConfigError, Fleet, Host, Service
from vllm_fleet.schema.host import GATEWAY, MONITORING


@dataclass(frozen=True)
class Victims:
    """One of each kind that faults differ by."""

    first: Placement
    second: Placement
    """Two replicas of one service, on two hosts."""
    alone: Placement
    """The only replica of its service, on one host."""
    head: Placement
    follower: Placement
    """Two ranks of a replica that spans hosts."""
    gateway: Host
    monitor: Host


def victims(fleet: Fleet, placements: list[Placement]) -> Victims:
    """The first of each kind. Raises ConfigError for a fleet that lacks one."""

    def replicas(service: Service) -> list[Placement]:
        return heads(placements, service.name)

    on_one_host = [service for service in fleet.services if service.nodes == 1]
    twice = [one for one in on_one_host if len({each.host.name for each in replicas(one)}) > 1]
    once = [one for one in on_one_host if one.replicas == 1]
    spanning = [service for service in fleet.services if service.nodes > 1]
    for found, what in (
        (twice, "one with replicas on two hosts"),
        (once, "one with a single replica"),
        (spanning, "one that spans hosts"),
    ):
        if not found:
            raise ConfigError(f"services: a drill needs {what}; declare one")
    first, *others = replicas(twice[0])
    group = ranks_of(placements, replicas(spanning[0])[0])
    return Victims(
        first=first,
        second=next(each for each in others if each.host != first.host),
        alone=replicas(once[0])[0],
        head=group[0],
        follower=group[1],
        gateway=fleet.hosts_in(GATEWAY)[0],
        monitor=fleet.hosts_in(MONITORING)[0],
    )
