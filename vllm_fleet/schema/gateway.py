"""The gateway: the one door to the fleet."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from .base import Model, Port
from .errors import FieldError
from .secret import Secret

# What vLLM's OpenAI server offers for inference and guards with the API key (vllm-facts section 4). Everything
# else (/invocations, /tokenize, /metrics, /scale_elastic_ep ...) is open on the engine and must not pass.
INFERENCE_ROUTES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/models",
    "/v1/responses",
)


def check_networks(values: list[str]) -> list[str]:
    """The networks in canonical form, or ValueError naming the one that is not a network."""
    try:
        return [str(ipaddress.ip_network(value)) for value in values]
    except ValueError as error:
        raise ValueError(f"{error}; write networks as 10.0.0.0/8 or 0.0.0.0/0") from None


class Gateway(Model):
    """HAProxy in front of all services, on the hosts of the inventory group `gateway`."""

    api_keys: Annotated[list[Secret], Field(min_length=1)]
    """Keys that clients may use; several at once to rotate."""
    certificate: Secret | None = None
    """PEM of the certificate, its intermediates and its private key, in this order: clients speak HTTPS. None: HTTP."""
    name: Annotated[
        str | None, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", description="a DNS name, as llm.example.net")
    ] = None
    """What clients call the gateways. None: each by its private address."""
    ca: str | None = None
    """A PEM file on the machine that deploys: the CA that signed the certificate, where that machine does not know it.
    `fleet ask` and the host tests trust it."""
    port: Port = 8080
    stats_port: Port = 8404
    clients: list[str] = ["0.0.0.0/0", "::/0"]
    """Networks whose clients may connect."""
    routes: list[str] = list(INFERENCE_ROUTES)
    max_body_kib: Annotated[int, Field(ge=16, le=16384)] = 1024
    """Largest request. Each open request holds a buffer of this size, for the model's name stands in the body."""
    max_connections: Annotated[int, Field(ge=1)] = 512
    request_timeout_seconds: Annotated[int, Field(ge=1)] = 600
    """Longest silence of an engine: covers queueing and prefill before the first token."""

    @field_validator("clients")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        return check_networks(values)

    @model_validator(mode="after")
    def _ca_has_a_use(self) -> Gateway:
        if self.ca and not self.certificate:
            raise FieldError("ca", "has no use without a certificate; declare gateway.certificate, or remove it")
        return self
