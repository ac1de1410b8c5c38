"""What Prometheus scrapes, from the same fleet that is deployed: nothing to discover, nothing to forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vllm_fleet.network.gateway import endpoint
from vllm_fleet.observe import metrics
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Fleet, Host
from vllm_fleet.schema.host import GATEWAY, MONITORING

IdOf = Callable[[Placement], str]


@dataclass(frozen=True)
class Target:
    """One `/metrics` on a private address."""

    job: str
    address: str
    """`address:port`, an IPv6 address in brackets."""
    labels: dict[str, str]


def targets(fleet: Fleet, placements: list[Placement], release_of: IdOf, configuration_of: IdOf) -> list[Target]:
    """Every target, by job and then in the fleet's order. Engines that serve no API have no metrics.

    The ids of an engine's release and configuration are those of engine/release.py.
    """
    return list(_targets(fleet, placements, release_of, configuration_of))


def _targets(fleet: Fleet, placements: list[Placement], release_of: IdOf, configuration_of: IdOf) -> Iterator[Target]:
    for engine in placements:
        if engine.head:
            labels = {
                metrics.HOST: engine.host.name,
                metrics.SERVICE: engine.service.name,
                metrics.REPLICA: str(engine.replica),
                metrics.UNIT: engine.unit,
                metrics.RELEASE: release_of(engine),
                metrics.CONFIGURATION: configuration_of(engine),
                metrics.TRACK: metrics.STABLE,
            }
            yield Target(metrics.VLLM, engine.endpoint, labels)
    watch = fleet.monitoring
    yield from _on(metrics.NODE, fleet.hosts, watch.node_exporter_port)
    yield from _on(metrics.NVML, [host for host in fleet.hosts if host.gpus], watch.gpu_exporter_port)
    yield from _on(metrics.HAPROXY, fleet.hosts_in(GATEWAY), fleet.gateway.stats_port)
    yield from _on(metrics.PROMETHEUS, fleet.hosts_in(MONITORING), watch.prometheus_port)
    yield from _on(metrics.ALERTMANAGER, fleet.hosts_in(MONITORING), watch.alertmanager_port)
    if watch.grafana:
        yield from _on(metrics.GRAFANA, fleet.hosts_in(MONITORING), watch.grafana.port)


def _on(job: str, hosts: list[Host], port: int) -> Iterator[Target]:
    for host in hosts:
        yield Target(job, endpoint(host, port), {metrics.HOST: host.name})
