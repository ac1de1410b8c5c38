"""HAProxy's configuration, which holds no secret, and its files of keys, which do."""

from __future__ import annotations

import ipaddress
import json
import shlex
from functools import partial

from vllm_fleet.network import admin
from vllm_fleet.network.gateway import Backend, backends, endpoint
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File, fill
from vllm_fleet.schema import ConfigError, Fleet, Host
from vllm_fleet.schema.certificate import Certificate

CONFIG = "/etc/haproxy/haproxy.cfg"
KEYS = "/etc/haproxy/vllm-fleet"
CLIENT_KEYS = f"{KEYS}/client-keys.lst"
ENGINE_KEYS = f"{KEYS}/engine-keys.map"
CERTIFICATE = f"{KEYS}/certificate.pem"

# HAProxy must take the configuration with the keys that come, not with those that are there.
CHECK = f"""\
sed "s|{KEYS}|$stage{KEYS}|" "$stage{CONFIG}" > "$stage/haproxy.cfg" && haproxy -c -f "$stage/haproxy.cfg"
"""

# A buffer must hold the largest body, the largest headers the gateway takes (16 KiB) and HAProxy's own marks.
_HEADER_BYTES = 16 * 1024
_BUFFER_SLACK_BYTES = 64 * 1024


def gateway_config(fleet: Fleet, placements: list[Placement], host: Host) -> File:
    """haproxy.cfg of one gateway host."""
    served = backends(fleet, placements)
    content = fill(
        "haproxy.cfg.j2",
        gateway=fleet.gateway,
        admin_socket=admin.SOCKET,
        backends=served,
        client_keys=CLIENT_KEYS,
        engine_keys=ENGINE_KEYS,
        # a host without IPv6 cannot bind ::, so only ask for it where a client may use it
        bind=f":::{fleet.gateway.port} v4v6" if _any_ipv6(fleet.gateway.clients) else f"*:{fleet.gateway.port}",
        certificate=CERTIFICATE if fleet.gateway.certificate else None,
        stats_bind=endpoint(host, fleet.gateway.stats_port),
        max_body_bytes=fleet.gateway.max_body_kib * 1024,
        max_header_bytes=_HEADER_BYTES,
        buffer_bytes=fleet.gateway.max_body_kib * 1024 + _BUFFER_SLACK_BYTES,
        models=shlex.quote(_models(served)),
        replies=_replies(fleet, served),
        quote=shlex.quote,  # HAProxy's configuration quotes like a shell (its manual, section 2.2)
    )
    return File(CONFIG, content)


def key_files(client_keys: list[str], engine_keys: dict[str, str]) -> list[File]:
    """The keys clients may use, and each service's own, which the gateway puts in their place.

    Raises ConfigError for a client key that HAProxy would read as a comment.
    """
    for number, key in enumerate(client_keys):
        if key.startswith("#"):
            raise ConfigError(f"gateway.api_keys.{number}: a key that begins with # is a comment to HAProxy; change it")
    clients = "".join(f"{key}\n" for key in client_keys)
    engines = "".join(f"{service} {key}\n" for service, key in engine_keys.items())
    return [
        File(CLIENT_KEYS, clients, mode="0600", secret=True),
        File(ENGINE_KEYS, engines, mode="0600", secret=True),
    ]


def certificate_file(certificate: Certificate) -> File:
    """What the gateway shows to clients, and its private key; HAProxy reads it as root, before it drops privileges."""
    return File(CERTIFICATE, certificate.pem, mode="0600", secret=True)


def _any_ipv6(networks: list[str]) -> bool:
    return any(ipaddress.ip_network(network).version == 6 for network in networks)


def _models(served: tuple[Backend, ...]) -> str:
    """The answer to GET /v1/models, in OpenAI's list format."""
    models = [{"id": one.model, "object": "model", "created": 0, "owned_by": "vllm-fleet"} for one in served]
    return json.dumps({"object": "list", "data": models})


def _replies(fleet: Fleet, served: tuple[Backend, ...]) -> dict[str, str]:
    """The gateway's own answers as quoted JSON, in the shape OpenAI's clients read errors from."""
    names = ", ".join(one.model for one in served)
    prefixes = ", ".join(f"/{one.service}/v1" for one in served)
    request = partial(_error, "invalid_request_error")
    server = partial(_error, "server_error")
    return {
        "unauthorized": request("invalid_api_key", "Missing or unknown API key; send Authorization: Bearer KEY."),
        "no_route": request("not_found", "This path is not served here."),
        "headers_too_large": request("headers_too_large", f"The headers are larger than {_HEADER_BYTES // 1024} KiB."),
        "body_too_large": request(
            "request_too_large", f"The request body is larger than {fleet.gateway.max_body_kib} KiB."
        ),
        "no_model": request(
            "model_unreadable",
            "Cannot read `model` from the request body. Send a JSON object, with `model` before values nested deeper "
            f"than 19 levels, or name the service in the path: {prefixes}.",
            param="model",
        ),
        "unknown_model": request("model_not_found", f"No such model here. Served are: {names}.", param="model"),
        "bad_request": request("bad_request", "The request is not valid HTTP."),
        "timeout": request("request_timeout", "The request did not arrive in time."),
        "internal": server("gateway_error", "The gateway failed."),
        "bad_gateway": server("engine_failed", "The engine broke off its answer."),
        "unavailable": server("engine_unavailable", "No engine of this service is ready."),
        "gateway_timeout": server("engine_timeout", "The engine did not answer in time."),
    }


def _error(kind: str, code: str, message: str, param: str | None = None) -> str:
    return shlex.quote(json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}))
