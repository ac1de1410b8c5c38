"""The lab's stand-in for Grafana does as Grafana with our files, and our script sets its password."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lab import grafana_debs
from tests.fleets import GRAFANA, example_fleet
from vllm_fleet import paths
from vllm_fleet.observe.grafana import NAMES, uid
from vllm_fleet.render import grafana as render
from vllm_fleet.schema import Host, Monitoring

PROGRAM = grafana_debs.SOURCES / "grafana.py"
PYTHON = [sys.executable, "-I", str(PROGRAM)]


class Server:
    """A Grafana in a directory, with our files at their paths in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.grafana = GRAFANA.model_copy(update={"port": port})
        self.host = Host(name="ops1", address="127.0.0.1", groups=("monitoring",))
        self.url = f"http://127.0.0.1:{port}"
        fleet = example_fleet(monitoring=Monitoring(grafana=self.grafana))
        start = render.start_files(fleet, self.grafana, self.host)
        for file in [render.password_file("first"), *start, *render.dashboard_files()]:
            place = root / file.path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.moved(str(file.content)))
        for folder in ("var/lib/grafana", "var/log/grafana"):
            (root / folder).mkdir(parents=True)

    def moved(self, text: str) -> str:
        """A text with our paths below the directory."""
        for path in ("/etc/grafana", paths.CONFIG, "/var/lib/", "/var/log/"):
            text = text.replace(path, f"{self.root}{path}")
        return text

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def argv(self) -> list[str]:
        return [*PYTHON, "server", f"--config={self.file(render.SETTINGS)}"]

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(self.argv(), stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and process.poll() is None:
                try:
                    httpx.get(f"{self.url}/api/health")
                    break
                except httpx.ConnectError:
                    time.sleep(0.05)  # until it listens; bounded above
            yield
        finally:
            process.kill()
            process.wait()

    def get(self, path: str, password: str = "first") -> httpx.Response:
        return httpx.get(f"{self.url}{path}", auth=("admin", password))

    def set_password(self, programs: Path) -> subprocess.CompletedProcess[str]:
        """Our script, with a runuser that changes nobody."""
        programs.mkdir(exist_ok=True)
        runuser = programs / "runuser"
        runuser.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
        runuser.chmod(0o755)
        text = self.moved(render.set_password(self.grafana, self.host))
        text = text.replace("/usr/share/grafana/bin/grafana", " ".join(PYTHON))
        environment = {"PATH": f"{programs}:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=environment, check=False)

    def password_is_set(self) -> bool:
        return subprocess.run(["sh", "-c", self.moved(render.PASSWORD_IS_SET)], capture_output=True).returncode == 0


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "root")


def test_it_serves_our_dashboards_and_data_source_to_the_admin(server: Server) -> None:
    with server.running():
        assert {one["uid"] for one in server.get("/api/search").json()} == {uid(name) for name in NAMES}
        shown = server.get(f"/api/dashboards/uid/{uid('service')}").json()["dashboard"]
        assert shown == json.loads(server.file(f"{paths.DASHBOARDS}/service.json").read_text())
        assert [one["type"] for one in server.get("/api/datasources").json()] == ["prometheus"]
        assert server.get("/api/dashboards/uid/none").status_code == 404


def test_health_and_metrics_need_no_account_all_else_does(server: Server) -> None:
    with server.running():
        assert httpx.get(f"{server.url}/api/health").json()["database"] == "ok"
        assert "grafana_build_info" in httpx.get(f"{server.url}/metrics").text
        for path in ("/api/search", "/api/datasources", "/"):
            assert httpx.get(f"{server.url}{path}").status_code == 401
            assert server.get(path, "wrong").status_code == 401
        header = {"Authorization": "Bearer " + base64.b64encode(b"admin:first").decode()}
        assert httpx.get(f"{server.url}/api/search", headers=header).status_code == 401


def test_the_settings_password_counts_at_the_first_start_only(server: Server) -> None:
    with server.running():
        assert server.get("/api/search").status_code == 200
    server.file(render.PASSWORD).write_text("second\n")
    with server.running():
        assert server.get("/api/search", "second").status_code == 401


def test_our_script_makes_a_new_password_count_and_notes_it(server: Server, tmp_path: Path) -> None:
    with server.running():
        assert not server.password_is_set()
        assert server.set_password(tmp_path / "bin").returncode == 0
        assert server.password_is_set()
        server.file(render.PASSWORD).write_text("second\n")
        assert not server.password_is_set()
        done = server.set_password(tmp_path / "bin")
        assert done.returncode == 0, done.stderr
        assert "second" not in done.stdout + done.stderr
        assert server.password_is_set()
        assert server.get("/api/search", "second").status_code == 200
        assert server.get("/api/search", "first").status_code == 401


def _break_settings(server: Server) -> None:
    server.file(render.SETTINGS).write_text("[server\n")


def _lose_password(server: Server) -> None:
    server.file(render.PASSWORD).unlink()


def _break_data_source(server: Server) -> None:
    server.file(f"{render.PROVISIONING}/datasources/vllm-fleet.yaml").write_text("apiVersion: 1\ndatasources: [{}]\n")


def _break_folder(server: Server) -> None:
    server.file(f"{render.PROVISIONING}/dashboards/vllm-fleet.yaml").write_text("apiVersion: [\n")


@pytest.mark.parametrize("harm", [_break_settings, _lose_password, _break_data_source, _break_folder])
def test_it_does_not_start_with_what_it_cannot_read(server: Server, harm: Callable[[Server], None]) -> None:
    harm(server)
    done = subprocess.run(server.argv(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("grafana: ")


def test_a_dashboard_that_is_no_json_is_left_out_and_the_check_before_going_live_sees_it(server: Server) -> None:
    check = ["sh", "-euc", f"stage={server.root}; {render.CHECK}"]
    assert subprocess.run(check, capture_output=True).returncode == 0
    server.file(f"{paths.DASHBOARDS}/gpu.json").write_text("{")
    assert subprocess.run(check, capture_output=True).returncode != 0
    with server.running():
        assert {one["uid"] for one in server.get("/api/search").json()} == {uid(name) for name in NAMES} - {uid("gpu")}
