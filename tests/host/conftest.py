"""`--inventory FILE` chooses the fleet; without it nothing here is collected.

Tests take one of these fixtures, each of which stands for one host or engine after another:

    machine     every host                    gateway     hosts of the group `gateway`
    gpu         hosts of the group `gpu`      monitor     hosts of the group `monitoring`
    engine      every engine (Placement), with `on`, the host it runs on
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.host.inventory import InventoryError, read
from tests.host.machine import Machine
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema.host import GATEWAY, GPU, MONITORING

_REASON = "tests/host: not collected, for they need a deployed fleet: --inventory inventories/NAME.py"
_MACHINES = pytest.StashKey[list[Machine]]()
_GROUPS = {"gpu": GPU, "gateway": GATEWAY, "monitor": MONITORING}


@dataclass(frozen=True)
class Engine:
    """An engine and the host it runs on."""

    placement: Placement
    on: Machine

    def __repr__(self) -> str:
        return f"{self.on}/{self.placement.instance}"


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("fleet")
    options.addoption("--inventory", metavar="FILE", help="the pyinfra inventory of the fleet under test")
    options.addoption("--checksums", action="store_true", help="verify the weights of large models too")
    options.addoption("--apply", action="store_true", help="apply the deploy, to see that it changes nothing")


def _inventory(config: pytest.Config) -> str | None:
    """The option, or None also where this file was read too late to add it (`pytest` without a path)."""
    value = config.getoption("--inventory", default=None)
    return None if value is None else str(value)


def pytest_configure(config: pytest.Config) -> None:
    """Load the inventory once and early, so that a bad one is one error and not one a file."""
    path = _inventory(config)
    config.stash[_MACHINES] = _load(path) if path else []


def pytest_report_header(config: pytest.Config) -> str:
    inventory = _inventory(config)
    return f"fleet: {inventory}" if inventory else _REASON


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not _inventory(config):
        terminalreporter.write_line(_REASON)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path.name.startswith("test_") and not _inventory(config) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    machines = metafunc.config.stash[_MACHINES]
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", machines, ids=repr)
    for fixture, group in _GROUPS.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, [one for one in machines if group in one.here.groups], ids=repr)
    if "engine" in metafunc.fixturenames:
        engines = [Engine(placement, machine) for machine in machines for placement in machine.engines]
        metafunc.parametrize("engine", engines, ids=repr)


@pytest.fixture
def machines(pytestconfig: pytest.Config) -> list[Machine]:
    """All hosts of the fleet."""
    return pytestconfig.stash[_MACHINES]


@pytest.fixture
def inventory(pytestconfig: pytest.Config) -> str:
    """The path of the inventory."""
    return _inventory(pytestconfig) or ""


def _load(path: str) -> list[Machine]:
    if not Path(path).is_file():
        raise pytest.UsageError(f"--inventory: there is no file {path}")
    try:
        hosts = read(path)
    except InventoryError as error:
        raise pytest.UsageError(f"--inventory {path}: {error}") from None
    lacking = [name for name, data in hosts.items() if "fleet" not in data or "placements" not in data]
    if lacking or not hosts:
        raise pytest.UsageError(f"--inventory {path}: no fleet is declared for {', '.join(lacking) or 'any host'}")
    return [
        Machine(here=data["fleet"].host(name), fleet=data["fleet"], placements=data["placements"], data=data)
        for name, data in hosts.items()
    ]
