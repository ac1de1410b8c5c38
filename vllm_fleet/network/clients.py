"""How a client reaches the gateways: the URL, and whom it trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

from vllm_fleet.network.gateway import authority
from vllm_fleet.schema import ConfigError, Fleet
from vllm_fleet.schema.host import GATEWAY


def url(fleet: Fleet) -> str:
    """The gateways' URL without a path, or that of the first where they share no name."""
    scheme = "https" if fleet.gateway.certificate else "http"
    return f"{scheme}://{authority(fleet.gateway_name(fleet.hosts_in(GATEWAY)[0]), fleet.gateway.port)}"


def trust(fleet: Fleet) -> ssl.SSLContext:
    """The declared CA, or this system's as curl takes them. Raises ConfigError for a file that holds none."""
    path = fleet.gateway.ca
    try:
        return ssl.create_default_context(cafile=Path(path).expanduser() if path else None)
    except OSError as error:  # ssl.SSLError is one
        reason = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"gateway.ca: cannot use {path} ({reason}); put the CA's certificate there") from None
