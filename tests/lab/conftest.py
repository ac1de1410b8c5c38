"""The lab as tests see it: its hosts over SSH, its gateway over HTTP. `make lab` must have run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpx
import pytest

from vllm_fleet.inventory import load
from vllm_fleet.network.clients import trust, url
from vllm_fleet.planner import Placement
from vllm_fleet.schema import Fleet

ROOT = Path(__file__).parents[2]


class Lab:
    """One deployed lab."""

    def __init__(self) -> None:
        self.fleet: Fleet
        self.placements: list[Placement]
        self.fleet, self.placements = load(str(ROOT / "inventories" / "lab.py"))
        self.gateway, self.trusted = url(self.fleet), trust(self.fleet)
        monitor = self.fleet.hosts_in("monitoring")[0].address
        self.prometheus = f"http://{monitor}:{self.fleet.monitoring.prometheus_port}"
        self.key = (ROOT / ".lab/secrets/client-key").read_text().strip()

    def ssh(self, host: str, command: str, check: bool = True) -> str:
        """What a command prints on a host, as root."""
        ran = subprocess.run(
            # starting engines take both cores for seconds, and sshd's greeting then comes late
            ["ssh", "-F", str(ROOT / ".lab/ssh/config"), "-o", "ConnectTimeout=30", host, f"sudo sh -c '{command}'"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or ran.returncode == 0, f"{host}: {command}: {ran.stderr}"
        return ran.stdout.strip()

    def post(self, path: str, key: str | None = "", **body: object) -> httpx.Response:
        """A request through the gateway with the client's key, or another, or none."""
        bearer = self.key if key == "" else key
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return httpx.post(f"{self.gateway}{path}", json=body, headers=headers, timeout=60, verify=self.trusted)

    def complete(self, model: str = "tiny-llama") -> httpx.Response:
        return self.post("/v1/completions", model=model, prompt="Hi", max_tokens=4)

    def servers(self, backend: str) -> dict[str, dict[str, str]]:
        """HAProxy's own view of a backend's servers, by name."""
        csv = self.ssh("ops-1", "echo show stat json | python3 -c \"import socket,sys; s=socket.socket(1); "
                       "s.connect(\\\"/run/haproxy/admin.sock\\\"); s.sendall(sys.stdin.buffer.read()); "
                       "print(s.makefile().read())\"")  # fmt: skip
        rows = [{item["field"]["name"]: item["value"]["value"] for item in row} for row in json.loads(csv)]
        return {
            row["svname"]: row
            for row in rows
            if row["pxname"] == backend and row["svname"] not in ("BACKEND", "FRONTEND")
        }

    def status_of(self, backend: str, host: str) -> str:
        """What the gateway thinks of a host's engine: `UP`, `DOWN` ..."""
        return next(row["status"] for name, row in self.servers(backend).items() if name.startswith(host))

    def query(self, expression: str) -> list[dict]:
        """An instant query's result."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression}, timeout=10)
        return answer.json()["data"]["result"]


class Traffic:
    """Requests in the background, a pause between them, their status codes kept; at most 6000 of them."""

    def __init__(self, lab: Lab, pause: float = 0.1) -> None:
        self.lab, self.pause = lab, pause
        self.codes: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for _ in range(6000):
            if self._stop.is_set():
                return
            self.codes.append(self.lab.complete().status_code)
            self._stop.wait(self.pause)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=120)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Seconds until a condition held; fails the test when it did not within the bound."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if condition():
            return time.monotonic() - start
        time.sleep(0.5)  # between looks; the loop is bounded
    raise AssertionError(f"not within {seconds} s: {what}")


def deploy(project: Path, *options: str, seconds: float = 400) -> tuple[int, str]:
    """A deploy from a copy of the project: its exit status and all it said."""
    ran = subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", *options, "inventories/lab.py", "deploy.py"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    said = ran.stdout + ran.stderr
    assert "Traceback (most recent call last)" not in said
    return ran.returncode, said


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the project in which a file of the lab's configuration has `old` replaced by `new`."""

    def change(old: str, new: str, file: str = "group_data/lab.py") -> Path:
        folders = ("inventories", "group_data")
        for name in ("vllm_fleet", "templates", "grafana", "lab", ".lab", "config.py", "deploy.py"):
            (tmp_path / name).symlink_to(ROOT / name)
        for name in folders:
            (tmp_path / name).mkdir()
            for path in (ROOT / name).glob("*.py"):
                (tmp_path / name / path.name).symlink_to(path)
        text = (ROOT / file).read_text()
        assert text.count(old) == 1
        (tmp_path / file).unlink()
        (tmp_path / file).write_text(text.replace(old, new))
        return tmp_path

    return change


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()
