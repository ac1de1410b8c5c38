"""Ports that options open, against all others of the host; those of fields are the schema's and the planner's."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Fleet
from vllm_fleet.schema.errors import Problem


def ports(fleet: Fleet, placements: list[Placement]) -> Iterator[Problem]:
    """Two users of one port of one host; vLLM says `address already in use`, after loading at the latest."""
    taken: dict[tuple[str, int], str] = {}
    for placement in placements:
        name = placement.service.name
        taken[placement.host.name, placement.port] = f"that of {name}'s API"
        if placement.meeting_port:
            taken[placement.host.name, placement.meeting_port] = f"that where engines of {name} meet"
    for host in fleet.hosts:
        taken[host.name, fleet.weights_port] = "weights_port"
        taken[host.name, fleet.monitoring.node_exporter_port] = "monitoring.node_exporter_port"
        if host.gpus:
            taken[host.name, fleet.monitoring.gpu_exporter_port] = "monitoring.gpu_exporter_port"
    for placement in placements:
        port = placement.service.options.get("grpc-port")
        if not isinstance(port, int) or not placement.head:
            continue
        if owner := taken.get((placement.host.name, port)):
            path = f"services.{placement.service.name}.options.grpc-port"
            yield Problem(path, f"{port} on {placement.host.name} is also {owner}", "use another port")
        taken[placement.host.name, port] = f"that of another engine ({placement.unit})"
