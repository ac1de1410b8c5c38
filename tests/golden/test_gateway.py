"""The gateway's files, whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from lab.certificates import make
from tests.fleets import example_fleet
from vllm_fleet.planner.placement import place
from vllm_fleet.render.gateway import certificate_file, gateway_config, key_files
from vllm_fleet.schema import ConfigError, Gateway, Secret
from vllm_fleet.schema.certificate import load_certificate


def test_config(golden: Callable[[str, str], None]) -> None:
    fleet = example_fleet()
    config = gateway_config(fleet, place(fleet), fleet.host("edge1"))
    golden("haproxy.cfg", config.content)
    assert (config.path, config.mode, config.secret) == ("/etc/haproxy/haproxy.cfg", "0644", False)


def test_config_with_a_certificate(golden: Callable[[str, str], None]) -> None:
    gateway = Gateway(api_keys=[Secret(env="CLIENT_KEY")], certificate=Secret(env="CERTIFICATE"))
    fleet = example_fleet(gateway=gateway)
    golden("haproxy-tls.cfg", gateway_config(fleet, place(fleet), fleet.host("edge1")).content)


def test_one_service_takes_requests_without_a_model() -> None:
    fleet = example_fleet(services=example_fleet().services[:1])
    content = gateway_config(fleet, place(fleet), fleet.host("edge1")).content
    assert "set-var(txn.service) str(chat) if !has_service !has_model\n" in content


def test_keys_are_secret_files_of_root() -> None:
    clients, engines = key_files(["client-one", "client-two"], {"chat": "engine-one", "coder": "engine-two"})
    assert clients.content == "client-one\nclient-two\n"
    assert engines.content == "chat engine-one\ncoder engine-two\n"
    assert [(file.mode, file.owner, file.secret) for file in (clients, engines)] == [("0600", "root", True)] * 2


def test_the_certificate_is_a_secret_file_of_root() -> None:
    _, pem = make(["llm.example.net"])
    file = certificate_file(load_certificate(pem, "gateway.certificate", datetime.now(UTC)))
    assert file.content == pem
    assert file.path == "/etc/haproxy/vllm-fleet/certificate.pem"
    assert (file.mode, file.owner, file.secret) == ("0600", "root", True)


def test_a_key_that_haproxy_would_skip_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gateway\.api_keys\.1: .* comment"):
        key_files(["fine", "#hidden"], {})
