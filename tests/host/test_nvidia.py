"""GPU hosts: the driver that is declared runs, and nothing will part its module from its libraries."""

from __future__ import annotations

import pytest

from tests.host.machine import Machine
from vllm_fleet.driver import Driver
from vllm_fleet.driver.found import Found, found
from vllm_fleet.render import tuning


@pytest.fixture
def driver(gpu: Machine) -> Driver:
    if not gpu.here.gpus or gpu.fleet.versions.nvidia_packages is None:
        pytest.skip("this deploy does not install its driver")
    return Driver(gpu.fleet.versions, gpu.here)


@pytest.fixture
def now(gpu: Machine, driver: Driver) -> Found:
    return found(gpu.run(f"( {driver.look} ) 2>/dev/null; true").splitlines())


def test_the_declared_driver_is_loaded(driver: Driver, now: Found) -> None:
    assert driver.is_wanted(now.module)
    assert driver.installed(now) == now.module


def test_nothing_of_the_driver_moves_by_itself(driver: Driver, now: Found) -> None:
    assert [name for name, package in now.packages.items() if package.upstream == now.module and not package.held] == []


def test_no_server_stays_drained(now: Found) -> None:
    assert now.drained == ()


def test_what_runs_beside_the_driver_runs(gpu: Machine, driver: Driver, now: Found) -> None:
    for unit in driver.files(now.distribution, now.architecture).units:
        assert gpu.shell.service(unit.name.removesuffix(".service")).is_running


def test_the_kernel_has_its_settings_unless_it_is_another_hosts(gpu: Machine, driver: Driver) -> None:
    assert gpu.run(f"{{ {tuning.applied()}; }} >/dev/null && echo applied") == "applied"
