"""What the gateway routes to: one backend a service, one server a replica."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_fleet.planner.placement import Placement, heads
from vllm_fleet.schema import ConfigError, Fleet, Host, Service

API_PREFIX = "v1"
"""The first path segment of every inference route; a service of this name could not be told from it."""


@dataclass(frozen=True)
class Server:
    """One engine that answers requests."""

    name: str
    """Unique in its backend: the host, with `.0`, `.1` ... where one host runs several engines of the service."""
    endpoint: str
    """`address:port`, an IPv6 address in brackets."""


@dataclass(frozen=True)
class Backend:
    """A service as clients see it."""

    service: str
    model: str
    """What clients send as `model`."""
    servers: tuple[Server, ...]


def backends(fleet: Fleet, placements: list[Placement]) -> tuple[Backend, ...]:
    """One backend a service, in the fleet's order. Raises ConfigError for a service named like a route."""
    return tuple(_backend(service, heads(placements, service.name)) for service in fleet.services)


def _backend(service: Service, engines: list[Placement]) -> Backend:
    if service.name == API_PREFIX:
        raise ConfigError(
            f"services.{service.name}.name: clients could not tell /{API_PREFIX}/... as a service from the API's own "
            "routes; choose another name"
        )
    servers = tuple(Server(server_name(engine), engine.endpoint) for engine in engines)
    return Backend(service.name, service.model_name, servers)


def server_name(engine: Placement) -> str:
    """The name under which the gateway's admin socket and metrics know an engine, within its service's backend."""
    return engine.host.name if engine.slots == 1 else f"{engine.host.name}.{engine.slot}"


def endpoint(host: Host, port: int) -> str:
    """`address:port` on a host's private address, an IPv6 address in brackets."""
    return authority(host.address, port)


def authority(name: str, port: int) -> str:
    """`name:port` as it stands in a URL, an IPv6 address in brackets."""
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
