"""How the ranks of a service lie on its hosts, and what that costs: which traffic crosses which wire."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Host, Problem, Service
from vllm_fleet.schema.host import RDMA

WIRES = {"ethernet": "TCP", "roce": "RoCE", "infiniband": "InfiniBand", "efa": "EFA"}
"""Fabrics between hosts as people call what runs over them."""


def ranks(placement: Placement) -> list[dict[str, int]]:
    """The parallel ranks of each GPU of one engine: tensor ranks vary fastest, then pipeline, then data ranks (vLLM,
    distributed/parallel_state.py)."""
    service = placement.service
    size, depth = service.tensor_parallel_size, service.pipeline_parallel_size
    first = placement.rank * service.gpus_per_node
    return [
        {
            "gpu": gpu,
            "tensor_parallel_rank": rank % size,
            "pipeline_parallel_rank": rank // size % depth,
            "data_parallel_rank": rank // (size * depth),
        }
        for rank, gpu in enumerate(placement.gpus, first)
    ]


def topology_problems(service: Service, members: tuple[Host, ...]) -> list[Problem]:
    """What the network between the hosts of a replica cannot carry."""
    if service.nodes == 1:
        return []
    if len({host.joined_by for host in members}) > 1:
        return [_mixed(service, members)]
    if service.tensor_parallel_size <= service.ranks_per_node or members[0].joined_by in RDMA:
        return []
    inside = service.ranks_per_node
    return [
        Problem(
            f"services.{service.name}.tensor_parallel_size",
            f"{service.tensor_parallel_size} reaches over {service.nodes} hosts, and every layer's all-reduces with "
            "it, but TCP joins them",
            f"use tensor_parallel_size={inside} and pipeline_parallel_size={service.gpus_per_replica // inside}, or "
            "declare the hosts' faster fabric: infiniband, roce or efa",
        )
    ]


def expert_problems(service: Service, members: tuple[Host, ...], experts: int) -> list[Problem]:
    """Why data parallel ranks of a model with so many experts a layer should not lie on several hosts."""
    if not service.data_parallel_over_hosts:
        return []
    path, each = f"services.{service.name}.data_parallel_size", service.data_parallel_size // service.nodes
    if not experts:
        # each rank would be an engine of its own (0.33, reconfigure_for_independent_dp_rank), and yet all would start
        # and end with any of them; of one that hangs vLLM takes no notice, and a completion of another looks well
        return [
            Problem(
                path,
                f"{service.data_parallel_size} is over {service.nodes} hosts, and the model has no experts that their "
                "ranks could share",
                f"use nodes=1, data_parallel_size={each} and replicas={service.replicas * service.nodes}",
            )
        ]
    if members[0].joined_by in RDMA:
        return []
    return [
        Problem(
            path,
            f"{service.data_parallel_size} ranks on {service.nodes} hosts share the experts, and every layer's tokens "
            "go to all of them, but TCP joins them",
            f"use tensor_parallel_size={service.gpus_per_node}, pipeline_parallel_size={service.nodes} and "
            "data_parallel_size=1, or declare the hosts' faster fabric: infiniband, roce or efa",
        )
    ]


def _mixed(service: Service, members: tuple[Host, ...]) -> Problem:
    """NCCL talks one network in a group, and does not look for one that all ranks have."""
    fabrics = ", ".join(f"{host.name} {host.joined_by}" for host in members)
    return Problem(
        f"services.{service.name}.hosts",
        f"a replica's hosts are joined by different fabrics: {fabrics}",
        "declare the one that joins them all as each host's fabric, or choose other hosts",
    )


def topology_reasons(placement: Placement) -> Iterator[str]:
    """Why the ranks of an engine lie where they do, one line each."""
    service, between_hosts = placement.service, WIRES.get(placement.host.joined_by)
    size = service.tensor_parallel_size
    if size > 1 and size <= service.gpus_per_node:
        yield f"tensor parallel {size} inside one host, over {_wire(placement)}: two all-reduces a layer and step"
    elif size > 1 and service.nodes > 1:
        yield (
            f"tensor parallel {size} over {service.nodes} hosts: two all-reduces a layer and step cross {between_hosts}"
        )
    if service.pipeline_parallel_size > 1:
        across = service.nodes > 1 and not service.data_parallel_over_hosts
        between = f"hosts over {between_hosts}" if across else "GPUs"
        yield f"pipeline parallel {service.pipeline_parallel_size} between {between}: one activation a step"
    if service.executor == "ray" and service.nodes > 2:
        # by the number Ray gave the node (get_bundles_sorted_by_node in v1/executor/ray_utils.py, 0.32 and 0.33)
        yield "Ray orders the hosts: the first runs the first ranks, the others follow in no order of ours"
    if service.data_parallel_over_hosts:
        yield (
            f"data parallel {service.data_parallel_size} over {service.nodes} hosts: that many engines behind rank 0's "
            f"port, and every layer's tokens cross {between_hosts} to the experts"
        )
    elif service.data_parallel_size > 1:
        yield f"data parallel {service.data_parallel_size}: that many engines behind one port"


def _wire(placement: Placement) -> str:
    """What joins the GPUs of each tensor parallel group."""
    host, size = placement.host, placement.service.tensor_parallel_size
    groups = [set(placement.gpus[start : start + size]) for start in range(0, len(placement.gpus), size)]
    if host.nvlink_groups:
        joined = all(any(group <= set(island) for island in host.nvlink_groups) for group in groups)
        return "NVLink" if joined else "PCIe between NVLink groups"
    if host.card and host.card.nvlink_bandwidth:
        return "NVLink"
    if host.numa_nodes and all(any(group <= set(node) for node in host.numa_nodes) for group in groups):
        return "PCIe of one NUMA node"
    return "PCIe" if host.card else "what joins its GPUs"
