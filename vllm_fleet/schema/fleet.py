"""The whole fleet: everything a deploy knows, checked against itself before a connection is opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from .base import Model, Port
from .certificate import Certificate, load_certificate
from .drill import Drill
from .errors import ConfigError, FieldError
from .gateway import Gateway
from .host import GATEWAY, GPU, MONITORING, Host
from .monitoring import Monitoring
from .service import EXAMPLE_DIGEST, Container, Service
from .versions import NvidiaNetwork, Versions
from .weights import Hub


class Fleet(Model):
    """Hosts, services, gateway and monitoring of one inventory."""

    hosts: list[Host]
    services: list[Service]
    gateway: Gateway
    monitoring: Monitoring
    versions: Versions = Versions()
    weights_port: Port = 8900
    """On GPU hosts, while a peer copies weights from there; nothing listens otherwise."""
    fabric_port: Port = 8901
    """On the first host of a replica that spans hosts, while its fabric is proven."""
    fetches_at_once: Annotated[int, Field(ge=1)] = 4
    """How many hosts pull an image, or ask the hub for weights, at the same time."""

    drill: Drill | None = None
    """Set where faults may be planted on purpose (`fleet drill`)."""

    @classmethod
    def path_of(cls, data: dict[str, Any]) -> str:
        return ""

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def hosts_in(self, group: str) -> list[Host]:
        return [host for host in self.hosts if group in host.groups]

    def engine_keys(self) -> dict[str, str]:
        """The API keys of the engines by service name, read now. Raises ConfigError for a missing or empty one."""
        return {service.name: service.api_key.read(f"services.{service.name}.api_key") for service in self.services}

    def client_keys(self) -> list[str]:
        """The keys clients may use at the gateway, read now. Raises ConfigError for a missing or empty one."""
        keys = self.gateway.api_keys
        return [key.read(f"gateway.api_keys.{number}") for number, key in enumerate(keys)]

    def gateway_name(self, gateway: Host) -> str:
        """What clients call one of the gateways: a DNS name or its address."""
        return self.gateway.name or gateway.address

    def certificate(self) -> Certificate | None:
        """The gateways' certificate, read now; None where they speak plain HTTP.

        Raises ConfigError for one that HAProxy would not take, that has expired, or that is not for their name.
        """
        path = "gateway.certificate"
        if self.gateway.certificate is None:
            return None
        found = load_certificate(self.gateway.certificate.read_text(path), path, datetime.now(UTC))
        for host in self.hosts_in(GATEWAY):
            name = self.gateway_name(host)
            if not found.covers(name):
                held = ", ".join(found.names) or "no name"
                raise ConfigError(f"{path}: is for {held}, not for {name}; get one for it, or change gateway.name")
        return found

    def webhooks(self) -> dict[str, str]:
        """Where alerts go, by severity, read now. Raises ConfigError for a missing or empty URL."""
        declared = {
            "page": self.monitoring.page_webhook,
            "ticket": self.monitoring.ticket_webhook,
            "watchdog": self.monitoring.watchdog_webhook,
        }
        return {name: secret.read(f"monitoring.{name}_webhook") for name, secret in declared.items() if secret}

    def grafana_password(self) -> str:
        """The password of Grafana's admin, read now. Raises ConfigError for a missing or empty one."""
        assert self.monitoring.grafana
        return self.monitoring.grafana.admin_password.read("monitoring.grafana.admin_password")

    def check_deployable(self) -> None:
        """What only a deploy needs, looked at before it connects: every secret and key is there, every image a real
        one."""
        self.engine_keys()
        self.client_keys()
        self.certificate()
        self.webhooks()
        if self.monitoring.grafana:
            self.grafana_password()
        if isinstance(self.versions.nvidia_packages, NvidiaNetwork):
            self.versions.nvidia_packages.read_keys()
        for service in self.services:
            path = f"services.{service.name}"
            if isinstance(service.model, Hub) and service.model.token:
                service.model.token.read(f"{path}.model.token")
            if isinstance(service.runtime, Container) and service.runtime.image.endswith(EXAMPLE_DIGEST):
                raise ConfigError(
                    f"{path}.runtime.image: has the example's digest; put in what `skopeo inspect "
                    "--format '{{.Digest}}' docker://NAME:TAG` prints for yours"
                )

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, hosts: list[Host]) -> list[Host]:
        _unique("address", [(host.name, host.address) for host in hosts])
        return hosts

    @field_validator("services")
    @classmethod
    def _services(cls, services: list[Service]) -> list[Service]:
        _unique("name", [(f"#{number}", service.name) for number, service in enumerate(services, 1)])
        _unique("served_name", [(service.name, service.model_name) for service in services])
        return services

    @model_validator(mode="after")
    def _agrees(self) -> Fleet:
        for group in (GPU, GATEWAY, MONITORING):
            if not self.hosts_in(group):
                raise FieldError(
                    "hosts", f"no host is in the inventory group {group!r}; add that list to the inventory"
                )
        gpu_hosts = {host.name: host for host in self.hosts_in(GPU)}
        for service in self.services:
            for name in service.hosts:
                if name not in gpu_hosts:
                    raise FieldError(
                        f"services.{service.name}.hosts",
                        f"{name!r} is not in the inventory's group 'gpu'; add it there, or use " + ", ".join(gpu_hosts),
                    )
                if service.nodes > 1 and not gpu_hosts[name].interface:
                    raise FieldError(
                        f"hosts.{name}.interface",
                        f"is needed for {service.name}, which spans hosts; name the interface that has "
                        f"{gpu_hosts[name].address}",
                    )
                if service.nodes > 1 and gpu_hosts[name].joined_by == "nvlink":
                    raise FieldError(
                        f"hosts.{name}.fabric",
                        f"'nvlink' joins the GPUs of one host, and {service.name} spans hosts; name what joins the "
                        "hosts: ethernet, roce, infiniband or efa",
                    )
        self._ports_differ()
        return self

    def _ports_differ(self) -> None:
        for host in self.hosts:
            taken: dict[int, str] = {}
            for port, owner in self._ports_of(host):
                if port in taken:
                    raise FieldError(
                        owner, f"port {port} on {host.name} is also {taken[port]}'s; give one of them another port"
                    )
                taken[port] = owner

    def _ports_of(self, host: Host) -> Iterator[tuple[int, str]]:
        """Ports declared on a host and the path that declares each; a replica's offset is the planner's matter."""
        yield host.ssh_port, f"hosts.{host.name}.ssh_port"
        yield self.monitoring.node_exporter_port, "monitoring.node_exporter_port"
        if host.gpus:
            yield self.monitoring.gpu_exporter_port, "monitoring.gpu_exporter_port"
        if GATEWAY in host.groups:
            yield self.gateway.port, "gateway.port"
            yield self.gateway.stats_port, "gateway.stats_port"
        if MONITORING in host.groups:
            yield self.monitoring.prometheus_port, "monitoring.prometheus_port"
            yield self.monitoring.alertmanager_port, "monitoring.alertmanager_port"
            if self.monitoring.grafana:
                yield self.monitoring.grafana.port, "monitoring.grafana.port"
        if GPU in host.groups:
            yield self.weights_port, "weights_port"
        here = [service for service in self.services if host.name in service.hosts]
        for service in here:
            yield service.port, f"services.{service.name}.port"
            if service.data_parallel_over_hosts:
                yield service.data_parallel_rpc_port, f"services.{service.name}.data_parallel_rpc_port"
            elif service.executor == "ray":
                yield service.ray_port, f"services.{service.name}.ray_port"
            elif service.nodes > 1:
                yield service.master_port, f"services.{service.name}.master_port"
            if service.nodes > 1:
                yield service.group_port, f"services.{service.name}.group_port"
        if any(service.nodes > 1 for service in here):
            yield self.fabric_port, "fabric_port"


def _unique(field: str, pairs: list[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for owner, value in pairs:
        if value in seen:
            raise FieldError(f"{owner}.{field}", f"{value!r} is also that of {seen[value]}; make them different")
        seen[value] = owner
