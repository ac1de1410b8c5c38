"""How a gateway is asked, by the program that runs there, over a socket that answers as HAProxy's does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.haproxy import Haproxy
from vllm_fleet.network import admin
from vllm_fleet.network.admin import Server, State

CHAT = Server("chat", "gpu1")


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Haproxy]:
    monkeypatch.setattr(admin, "SOCKET", str(tmp_path / "admin.sock"))
    gateway = Haproxy(tmp_path / "admin.sock", "chat/gpu1", "chat/gpu2.0", "large/gpu1")
    yield gateway
    gateway.close()


def asked(*commands: str) -> list[str]:
    ran = subprocess.run(["sh", "-c", admin.ask(commands)], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_servers_with_what_is_under_way(haproxy: Haproxy) -> None:
    haproxy.requests["chat/gpu1"], haproxy.status["large/gpu1"] = [3], "DOWN 1/2"
    found = admin.states(asked(*admin.show(["chat", "large", "unknown"])))
    assert found == {
        CHAT: State("UP", 3),
        Server("chat", "gpu2.0"): State("UP", 0),
        Server("large", "gpu1"): State("DOWN 1/2", 0),
    }


def test_a_server_is_drained_and_admitted(haproxy: Haproxy) -> None:
    assert "".join(asked(admin.drain(CHAT))) == ""
    assert not admin.states(asked(*admin.show(["chat"])))[CHAT].admitted
    assert "".join(asked(admin.admit(CHAT))) == ""
    assert admin.states(asked(*admin.show(["chat"])))[CHAT].up
    assert haproxy.said == ["drain chat/gpu1", "ready chat/gpu1"]


def test_where_no_haproxy_runs_nothing_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "SOCKET", str(tmp_path / "none"))
    assert asked(*admin.show(["chat"])) == []


@pytest.mark.parametrize(
    "status, up, admitted",
    [("UP", True, True), ("UP 1/3", True, True), ("DOWN", False, True), ("DRAIN", False, False),
     ("MAINT", False, False), ("MAINT (via chat/a)", False, False), ("no check", False, True)],
)  # fmt: skip
def test_states(status: str, up: bool, admitted: bool) -> None:
    state = State(status, 0)
    assert (state.up, state.admitted) == (up, admitted)
