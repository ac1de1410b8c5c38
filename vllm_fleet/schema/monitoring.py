"""Prometheus, Alertmanager and the exporters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from .base import Model, Port
from .gateway import check_networks
from .secret import Secret

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]*(s|m|h|d|w)$")]


class Monitoring(Model):
    """What watches the fleet, on the hosts of the inventory group `monitoring`."""

    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    node_exporter_port: Port = 9100
    gpu_exporter_port: Port = 9400
    """On hosts with GPUs."""
    scrape_interval: Duration = "5s"
    retention: Duration = "30d"
    operators: list[str] = []
    """Networks from which people may open Prometheus and Alertmanager; none means only from the fleet itself."""
    page_webhook: Secret | None = None
    ticket_webhook: Secret | None = None
    watchdog_webhook: Secret | None = None
    """URLs that Alertmanager posts to; secret, for they mostly hold a token. The watchdog's gets an alert that always
    fires: what listens there should call somebody when it stops."""

    @field_validator("operators")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        return check_networks(values)
