"""From services and hosts to engines: replica, rank, GPUs and ports, from declared data alone.

Nothing here asks a host, so ranks and scrape targets are the same whatever `--limit` leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vllm_fleet.planner.catalogue import config_of, subject_of
from vllm_fleet.planner.model_config import UnsizedError
from vllm_fleet.planner.settings import field_of, settings_of
from vllm_fleet.planner.split import split_problems
from vllm_fleet.schema import ConfigError, Fleet, Host, Service


@dataclass(frozen=True)
class Placement:
    """One vLLM process group on one host: a whole replica, or one rank of a replica that spans hosts."""

    service: Service
    host: Host
    replica: int
    """0-based, over all hosts."""
    rank: int
    """0-based among the hosts of this replica; rank 0 answers requests."""
    members: tuple[Host, ...]
    """The hosts of this replica in rank order."""
    slot: int
    """0-based among this service's engines on this host; moves the ports."""
    slots: int
    """How many engines of this service run on this host."""
    head_slot: int
    """The slot of rank 0 on its host, where the ports of the replica are."""
    gpus: tuple[int, ...]
    """In the order of vLLM's local ranks: tensor parallel groups one after the other."""

    @property
    def instance(self) -> str:
        """The engine's name on its host: the service's, with a number only where one host runs several."""
        return self.service.name if self.slots == 1 else f"{self.service.name}-{self.slot}"

    @property
    def unit(self) -> str:
        return f"vllm-{self.instance}.service"

    @property
    def port(self) -> int:
        return self.service.port + self.slot

    @property
    def master_port(self) -> int:
        """Of rank 0."""
        return self.service.master_port + self.head_slot

    @property
    def data_parallel_rpc_port(self) -> int:
        """Of rank 0."""
        return self.service.data_parallel_rpc_port + self.head_slot

    @property
    def ray_port(self) -> int:
        """Of rank 0."""
        return self.service.ray_port + self.head_slot

    @property
    def meeting_port(self) -> int | None:
        """Whichever of the three the engines of this replica use; None on one host."""
        if not self.spans_hosts:
            return None
        if self.service.data_parallel_over_hosts:
            return self.data_parallel_rpc_port
        return self.ray_port if self.service.executor == "ray" else self.master_port

    @property
    def group_port(self) -> int:
        """Of rank 0."""
        return self.service.group_port + self.head_slot

    @property
    def spans_hosts(self) -> bool:
        return len(self.members) > 1

    @property
    def head(self) -> bool:
        """True for the engine that serves the API of its replica."""
        return self.rank == 0

    @property
    def endpoint(self) -> str:
        """`address:port` of the replica's API, which rank 0 serves; an IPv6 address in brackets."""
        return self._of_head(self.service.port + self.head_slot)

    @property
    def ray_address(self) -> str:
        """The same of its Ray cluster."""
        return self._of_head(self.ray_port)

    def _of_head(self, port: int) -> str:
        address = self.members[0].address
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def place(fleet: Fleet) -> list[Placement]:
    """All engines of the fleet, in the order services, replicas, ranks.

    Each replica goes to the allowed hosts that run fewest engines of its service (ties: the order in which the
    service names them) and have its GPUs free, so replicas spread before they share a host.
    Raises ConfigError when GPUs run out, two engines' ports meet, a model cannot be split so, or Ray would give its
    ranks other GPUs.
    """
    free = {host.name: list(range(host.gpus)) for host in fleet.hosts}
    placed: list[Placement] = []
    for service in fleet.services:
        _check_split(service)
        placed += _place_service(fleet, service, free)
    _check_ports(placed)
    return placed


def _check_split(service: Service) -> None:
    """What the model's own numbers forbid, for models whose numbers are known; vLLM checks the others."""
    try:
        config = config_of(service.model)
        problems = split_problems(subject_of(config), settings_of(service)) if config else []
    except UnsizedError:
        return
    if problems:
        raise ConfigError(
            *(str(replace(each, path=f"services.{service.name}.{field_of(each.path)}")) for each in problems)
        )


def on_host(placements: list[Placement], host_name: str) -> list[Placement]:
    """The engines of one host."""
    return [placement for placement in placements if placement.host.name == host_name]


def heads(placements: list[Placement], service_name: str) -> list[Placement]:
    """The engines of a service that answer requests, one a replica."""
    return [placement for placement in placements if placement.service.name == service_name and placement.head]


def ranks_of(placements: list[Placement], placement: Placement) -> list[Placement]:
    """The engines of the same replica, in rank order."""
    wanted = (placement.service.name, placement.replica)
    return [one for one in placements if (one.service.name, one.replica) == wanted]


def _place_service(fleet: Fleet, service: Service, free: dict[str, list[int]]) -> Iterator[Placement]:
    running = dict.fromkeys(service.hosts, 0)
    chosen: list[tuple[int, int, tuple[str, ...], str, tuple[int, ...]]] = []
    for replica in range(service.replicas):
        names = _pick_hosts(service, running, free)
        for rank, name in enumerate(names):
            gpus = _pick_gpus(service, fleet.host(name), free[name])
            _check_order(service, name, gpus)
            free[name] = [gpu for gpu in free[name] if gpu not in gpus]
            chosen.append((replica, rank, names, name, gpus))
            running[name] += 1
    slots = dict.fromkeys(service.hosts, 0)
    head_slot = 0
    for replica, rank, names, name, gpus in chosen:
        if rank == 0:
            head_slot = slots[name]
        yield Placement(
            service=service,
            host=fleet.host(name),
            replica=replica,
            rank=rank,
            members=tuple(fleet.host(member) for member in names),
            slot=slots[name],
            slots=running[name],
            head_slot=head_slot,
            gpus=gpus,
        )
        slots[name] += 1


def _pick_hosts(service: Service, running: dict[str, int], free: dict[str, list[int]]) -> tuple[str, ...]:
    fits = [name for name in service.hosts if len(free[name]) >= service.gpus_per_node]
    if len(fits) < service.nodes:
        left = ", ".join(f"{name} {len(free[name])}" for name in service.hosts)
        raise ConfigError(
            f"services.{service.name}.replicas: each needs {service.gpus_per_node} GPUs on {service.nodes} host(s), "
            f"free are {left}; add hosts, or lower replicas or a parallel size"
        )
    return tuple(sorted(fits, key=lambda name: running[name])[: service.nodes])


def _pick_gpus(service: Service, host: Host, free: list[int]) -> tuple[int, ...]:
    """GPUs for one engine: each tensor parallel group inside one NVLink group where that is possible, else inside one
    NUMA node, else the next free ones. The tightest island that holds a group is taken, to keep wide ones whole."""
    left, chosen = list(free), list[int]()
    while len(chosen) < service.gpus_per_node:
        size = min(service.tensor_parallel_size, service.gpus_per_node - len(chosen))
        group = next(_islands(host, left, size))[:size]
        chosen += group
        left = [gpu for gpu in left if gpu not in group]
    return tuple(chosen)


def _check_order(service: Service, name: str, gpus: tuple[int, ...]) -> None:
    """RayExecutorV2 gives the GPUs of a host to its ranks in ascending order (0.32 and 0.33)."""
    if service.executor == "ray" and list(gpus) != sorted(gpus):
        raise ConfigError(
            f"services.{service.name}.executor: 'ray' takes the GPUs of {name} in ascending order, but its NVLink or "
            f"NUMA groups ask for {', '.join(map(str, gpus))}; use 'mp'"
        )


def _islands(host: Host, free: list[int], size: int) -> Iterator[list[int]]:
    for islands in (host.nvlink_groups, host.numa_nodes, [free]):
        usable = [[gpu for gpu in free if gpu in island] for island in islands]
        yield from sorted((island for island in usable if len(island) >= size), key=len)


def _check_ports(placed: list[Placement]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for placement in placed:
        ports = [placement.port]
        if placement.head and placement.meeting_port:
            ports += [placement.meeting_port, placement.group_port]
        for port in ports:
            other = taken.setdefault((placement.host.name, port), placement.service.name)
            if other != placement.service.name:
                raise ConfigError(
                    f"services.{placement.service.name}.port: several engines of {other} on {placement.host.name} "
                    f"also take port {port}; move one service's port further away"
                )
