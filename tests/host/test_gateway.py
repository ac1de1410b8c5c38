"""The gateway: lets clients with a key to the inference routes of every service, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.host.machine import Machine, Response
from vllm_fleet.render import gateway as rendered
from vllm_fleet.schema import Service

WRONG = "wrong-key"


def _ask(gateway: Machine, method: str, path: str, **more: Any) -> Response:
    """A request to this gateway as a client makes it, but on the host itself."""
    tls = gateway.fleet.gateway_name(gateway.here) if gateway.fleet.gateway.certificate else None
    return gateway.http(method, gateway.here.address, gateway.fleet.gateway.port, path, tls=tls, **more)


def _post(gateway: Machine, path: str, body: dict[str, object], **key: str | None) -> Response:
    return _ask(gateway, "POST", path, body=body, **key or {"key_file": rendered.CLIENT_KEYS})


def _get(gateway: Machine, path: str) -> Response:
    return _ask(gateway, "GET", path, key_file=rendered.CLIENT_KEYS)


def _chat(service: Service, **values: object) -> dict[str, object]:
    return {"model": service.model_name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16, **values}


def test_haproxy_runs_and_starts_at_boot(gateway: Machine) -> None:
    service = gateway.shell.service("haproxy")
    assert service.is_running
    assert service.is_enabled


def test_the_configuration_is_valid(gateway: Machine) -> None:
    assert gateway.succeeds(f"haproxy -c -f {rendered.CONFIG}")


def test_key_files_are_roots_own(gateway: Machine) -> None:
    for path in (rendered.CLIENT_KEYS, rendered.ENGINE_KEYS):
        file = gateway.shell.file(path)
        assert (file.mode, file.user) == (0o600, "root"), path


def test_with_a_certificate_it_speaks_tls_alone(gateway: Machine) -> None:
    if not gateway.fleet.gateway.certificate:
        pytest.skip("no certificate is declared for the gateway")
    file = gateway.shell.file(rendered.CERTIFICATE)
    assert (file.mode, file.user) == (0o600, "root")
    assert _get(gateway, "/v1/models").status == 200
    with pytest.raises(AssertionError, match=r"RemoteDisconnected|ConnectionResetError"):
        gateway.http("GET", gateway.here.address, gateway.fleet.gateway.port, "/v1/models")


def test_every_engine_is_up_behind_it(gateway: Machine) -> None:
    metrics = gateway.http("GET", gateway.here.address, gateway.fleet.gateway.stats_port, "/metrics").text
    up = [
        line for line in metrics.splitlines()
        if line.startswith("haproxy_server_status{") and 'state="UP"' in line and line.endswith(" 1")
    ]  # fmt: skip
    assert len(up) == len([placement for placement in gateway.placements if placement.head])


def test_every_service_answers_a_streamed_chat(gateway: Machine) -> None:
    for service in gateway.fleet.services:
        answer = _post(gateway, "/v1/chat/completions", _chat(service, stream=True, ignore_eos=True))
        assert answer.status == 200, service.name
        assert answer.type.startswith("text/event-stream"), service.name
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]", service.name
        assert {json.loads(event)["model"] for event in events[:-1]} == {service.model_name}
        assert answer.chunks > 1, f"{service.name}: the answer came in one piece: something buffers it"


def test_the_service_can_be_named_in_the_path(gateway: Machine) -> None:
    for service in gateway.fleet.services:
        answer = _post(gateway, f"/{service.name}/v1/chat/completions", _chat(service))
        assert answer.status == 200, service.name
        assert answer.json()["usage"]["completion_tokens"] > 0, service.name


def test_the_list_of_models_is_that_of_the_fleet(gateway: Machine) -> None:
    listed = [model["id"] for model in _get(gateway, "/v1/models").json()["data"]]
    assert listed == [service.model_name for service in gateway.fleet.services]


@pytest.mark.parametrize("key", [None, WRONG], ids=["no key", "wrong key"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/metrics"])
def test_strangers_are_refused(gateway: Machine, path: str, key: str | None) -> None:
    answer = _post(gateway, path, _chat(gateway.fleet.services[0]), key=key)
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path",
    ["/invocations", "/tokenize", "/detokenize", "/metrics", "/generative_scoring", "/load", "/version", "/docs",
     "/scale_elastic_ep", "/pooling", "/v1/../metrics", "/v1/load_lora_adapter"],
)  # fmt: skip
def test_what_vllm_leaves_open_does_not_pass(gateway: Machine, path: str) -> None:
    service = gateway.fleet.services[0]
    for prefix in ("", f"/{service.name}"):
        answer = _post(gateway, prefix + path, _chat(service))
        assert answer.status == 404, prefix + path
        assert answer.json()["error"]["code"] == "not_found", prefix + path


def test_an_unknown_model_is_said_so(gateway: Machine) -> None:
    answer = _post(gateway, "/v1/chat/completions", {"model": "no-such-model", "messages": []})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_body_that_is_too_large_is_refused(gateway: Machine) -> None:
    # announced, not sent: it is refused for its length alone
    size = (gateway.fleet.gateway.max_body_kib + 1) * 1024
    answer = _ask(
        gateway,
        "POST",
        "/v1/chat/completions",
        key_file=rendered.CLIENT_KEYS,
        headers={"Content-Length": str(size)},
    )
    assert answer.status == 413


def test_its_metrics_are_on_the_private_address_only(gateway: Machine) -> None:
    port = gateway.fleet.gateway.stats_port
    listening = gateway.run(f"ss -Hltn 'sport = :{port}'").splitlines()
    address = f"[{gateway.here.address}]" if ":" in gateway.here.address else gateway.here.address
    assert {line.split()[3] for line in listening} == {f"{address}:{port}"}
