"""Prometheus, Alertmanager, the exporters and Grafana."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .base import Model, Port
from .errors import FieldError
from .gateway import check_networks
from .secret import Secret
from .versions import AptRepository

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*(s|m|h|d|w)$")]


class Grafana(Model):
    """Grafana with the fleet's dashboards, on the hosts of the inventory group `monitoring`."""

    repository: AptRepository
    """Grafana's own package source or a mirror."""
    admin_password: Secret
    """Of the user `admin`."""
    release: Literal["11.6", "12", "13"] = "12"
    """Which releases may be installed; these are the ones that the dashboards are written for."""
    port: Port = 3000

    @field_validator("repository")
    @classmethod
    def _only_grafana(cls, repository: AptRepository) -> AptRepository:
        if repository.packages != ["grafana"]:
            raise FieldError("packages", 'is not ["grafana"], which is what is taken from there; write that')
        return repository

    @classmethod
    def path_of(cls, data: dict[str, Any]) -> str:
        return "monitoring.grafana"


class Monitoring(Model):
    """What watches the fleet, on the hosts of the inventory group `monitoring`."""

    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    node_exporter_port: Port = 9100
    gpu_exporter_port: Port = 9400
    """On hosts with GPUs."""
    scrape_interval: Duration = "5s"
    retention: Duration = "30d"
    grafana: Grafana | None = None
    """None: not installed; grafana/*.json can be imported into one of yours."""
    operators: list[str] = []
    """Networks from which people may open Prometheus, Alertmanager and Grafana; none: only the fleet itself may."""
    page_webhook: Secret | None = None
    ticket_webhook: Secret | None = None
    watchdog_webhook: Secret | None = None
    """URLs that Alertmanager posts to; secret, for they mostly hold a token. The watchdog's gets an alert that always
    fires: what listens there should call somebody when it stops."""

    @field_validator("operators")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        return check_networks(values)
