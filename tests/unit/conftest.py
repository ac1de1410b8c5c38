"""Fixtures of several unit tests."""

from __future__ import annotations

import http.server
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
from hypothesis import settings

from lab import nvidia_debs
from lab.nvidia import nvidia_simulate
from tests.unit.deploys import Systemd
from tests.unit.readiness import Api
from tests.unit.simulated_nvml import DRIVER, Simulated
from vllm_fleet import converge, paths

# the same examples in every run, so that a red run is red again; a busy machine is no failure
settings.register_profile("unit", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("unit")


@pytest.fixture
def api() -> Iterator[str]:
    Api.routes, Api.asked, Api.stop = {}, [], threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Api.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """The lab's stand-in for NVML; needs gcc."""
    return Simulated(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def simulated(compiled: Simulated, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    """The same with its module loaded and no fault; `nvidia-simulate` writes there."""
    compiled.load(DRIVER)
    monkeypatch.setattr(nvidia_simulate, "STATE", compiled.state)
    monkeypatch.setattr(nvidia_simulate, "VALUES", nvidia_debs.SOURCES / "h200")
    yield compiled
    compiled.state.unlink(missing_ok=True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine as a host: our own directories are in the test's, and no host of an earlier test is remembered."""
    root = tmp_path / "machine"
    for name in ("ENGINES", "STATE", "CACHES", "UNITS"):
        monkeypatch.setattr(paths, name, f"{root}{getattr(paths, name)}")
    monkeypatch.setattr(converge, "_surveys", WeakKeyDictionary())
    return root


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A systemctl of the test's own, first on PATH."""
    systemd = Systemd(tmp_path / "systemd")
    monkeypatch.setenv("PATH", f"{systemd.programs}:{os.environ['PATH']}")
    return systemd


@pytest.fixture
def no_inventory_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process, no inventory is imported yet; nor is it afterwards."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in ("inventories", "group_data")]:
            del sys.modules[name]

    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    yield
    forget()
