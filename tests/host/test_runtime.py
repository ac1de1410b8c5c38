"""GPU hosts: what engines run in."""

from __future__ import annotations

import pytest

from tests.host.conftest import Engine
from tests.host.machine import Machine
from vllm_fleet.engine.command import venv_directory
from vllm_fleet.schema import Container


def _needs_docker(machine: Machine) -> None:
    if not any(isinstance(engine.service.runtime, Container) for engine in machine.engines):
        pytest.skip("no engine of this host runs in a container")


def test_docker_runs_and_starts_at_boot(gpu: Machine) -> None:
    _needs_docker(gpu)
    service = gpu.shell.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_docker_is_new_enough(gpu: Machine) -> None:
    _needs_docker(gpu)
    version = gpu.run("docker version --format '{{.Server.Version}}'")
    assert int(version.split(".")[0]) >= gpu.fleet.versions.docker_minimum


def test_containers_outlive_the_docker_daemon(gpu: Machine) -> None:
    _needs_docker(gpu)
    assert gpu.run("docker info --format '{{.LiveRestoreEnabled}}'") == "true"


def test_the_engine_runs_the_declared_software(engine: Engine) -> None:
    runtime = engine.placement.service.runtime
    if isinstance(runtime, Container):
        name = engine.placement.unit.removesuffix(".service")
        running, wanted = engine.on.run(
            f"docker inspect --format '{{{{.Image}}}}' {name} && "
            f"docker image inspect --format '{{{{.Id}}}}' {runtime.image}"
        ).splitlines()
        assert running == wanted
    else:
        pid = engine.on.run(f"systemctl show -P MainPID {engine.placement.unit}")
        program = engine.on.run(f"tr '\\0' '\\n' < /proc/{pid}/cmdline | head -2").splitlines()
        assert any(part.startswith(f"{venv_directory(runtime)}/bin/") for part in program)
