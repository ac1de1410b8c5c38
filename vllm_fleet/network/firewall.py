"""Who may reach which port of a host, and why. What no rule names is dropped."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vllm_fleet.planner.peers import sharers
from vllm_fleet.planner.placement import Placement, on_host
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.host import GATEWAY, MONITORING

ANYWHERE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True)
class Rule:
    """TCP from `sources` to `ports` is accepted."""

    why: str
    """Who and what for, in a few words; stands beside the rule on the host."""
    sources: tuple[str, ...]
    """Networks in canonical form (a host is a /32 or /128), sorted, none inside another."""
    ports: tuple[int, ...] | None
    """Sorted; None is every port."""

    def of_family(self, version: int) -> tuple[str, ...]:
        """The sources of IP version 4 or 6, single hosts without their prefix length."""
        networks = (ipaddress.ip_network(source) for source in self.sources)
        return tuple(
            str(network.network_address) if network.num_addresses == 1 else str(network)
            for network in networks
            if network.version == version
        )


def rules(fleet: Fleet, placements: list[Placement], host: Host) -> list[Rule]:
    """The rules of one host, in a fixed order. Replies, loopback and ICMP are the table's own matter.

    A host's own address is never a source: what a host sends to itself passes through loopback.
    """
    return [rule for rule in _rules(fleet, placements, host) if rule.sources]


def _rules(fleet: Fleet, placements: list[Placement], host: Host) -> Iterator[Rule]:
    gateways = _addresses(fleet.hosts_in(GATEWAY), host)
    monitors = _addresses(fleet.hosts_in(MONITORING), host)
    yield Rule("SSH", ANYWHERE, (host.ssh_port,))
    for engine in on_host(placements, host.name):
        if engine.head:
            yield Rule(f"{engine.instance} from gateways, metrics", _merge(gateways, monitors), (engine.port,))
        # NCCL, Gloo and ZMQ listen on random high ports of the node's address (seen on vLLM 0.32)
        yield Rule(f"{engine.instance} among its members", _merge(_addresses(engine.members, host)), None)
    yield Rule("weights for its peers", _merge(_addresses(sharers(placements, host), host)), (fleet.weights_port,))
    yield Rule("node metrics", _merge(monitors), (fleet.monitoring.node_exporter_port,))
    if host.gpus:
        yield Rule("GPU metrics", _merge(monitors), (fleet.monitoring.gpu_exporter_port,))
    if GATEWAY in host.groups:
        yield Rule("clients of the gateway", _merge(fleet.gateway.clients), (fleet.gateway.port,))
        yield Rule("gateway metrics", _merge(monitors), (fleet.gateway.stats_port,))
    if MONITORING in host.groups:
        ports = sorted((fleet.monitoring.prometheus_port, fleet.monitoring.alertmanager_port))
        sources = _merge(fleet.monitoring.operators, _addresses(fleet.hosts, host))
        yield Rule("Prometheus and Alertmanager", sources, tuple(ports))
        if grafana := fleet.monitoring.grafana:
            yield Rule("Grafana", _merge(fleet.monitoring.operators, monitors), (grafana.port,))


def _addresses(hosts: Iterable[Host], besides: Host) -> list[str]:
    return [host.address for host in hosts if host.name != besides.name]


def _merge(*groups: Iterable[str]) -> tuple[str, ...]:
    """Networks sorted (IPv4 first) and without those inside another, which nftables refuses in one set."""
    networks = {ipaddress.ip_network(text) for group in groups for text in group}
    wide = [one for one in networks if not any(one != other and _inside(one, other) for other in networks)]
    ordered = sorted(wide, key=lambda network: (network.version, int(network.network_address)))
    return tuple(str(network) for network in ordered)


def _inside(
    one: ipaddress.IPv4Network | ipaddress.IPv6Network, other: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.subnet_of(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.subnet_of(other)
    return False
