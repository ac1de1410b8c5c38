"""The drill: which faults there are, and what is made of what Prometheus, Alertmanager and the receiver say."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from click.testing import CliRunner

from tests.fleets import example_fleet, service
from vllm_fleet.cli import main
from vllm_fleet.drill import run
from vllm_fleet.drill import watch as watch_module
from vllm_fleet.drill.fault import Fault, Round, Step
from vllm_fleet.drill.rounds import NOT_TRIPPED, rounds, tripped
from vllm_fleet.drill.run import Drill, Outcome, Planted, outcome
from vllm_fleet.drill.victims import victims
from vllm_fleet.drill.watch import Watch
from vllm_fleet.observe.alerts import ALERTS, WATCHDOG
from vllm_fleet.planner import place
from vllm_fleet.remote import Answer, Task
from vllm_fleet.schema import ConfigError, Fleet


def fleet() -> Fleet:
    declared = example_fleet()
    batch = service("batch", "Qwen/Qwen2.5-7B-Instruct", hosts=["gpu2"], port=8300, served_name="batch")
    return example_fleet(services=[declared.services[0], batch, declared.services[2]])


@pytest.fixture
def planned() -> list[Round]:
    declared = fleet()
    return rounds(declared, victims(declared, place(declared)))


def test_every_alert_is_tripped_or_it_is_said_why_not(planned: list[Round]) -> None:
    named = {alert.name for alert in ALERTS} - {WATCHDOG.name}
    assert tripped(planned) | set(NOT_TRIPPED) == named
    assert not tripped(planned) & set(NOT_TRIPPED)


def test_every_command_is_shell(planned: list[Round]) -> None:
    commands = [
        text for faults in planned for fault in faults for step in fault.steps for text in (step.plant, step.undo)
    ]
    assert len(commands) > 40
    for command in commands:
        done = subprocess.run(["sh", "-n"], input=command, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_faults_have_names_of_their_own(planned: list[Round]) -> None:
    names = [fault.what for faults in planned for fault in faults]
    assert len(set(names)) == len(names)


def test_a_fleet_without_a_model_that_spans_hosts_cannot_be_drilled() -> None:
    declared = example_fleet(services=fleet().services[:2])
    with pytest.raises(ConfigError, match="services: a drill needs one that spans hosts; declare one"):
        victims(declared, place(declared))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inventories/prod.py"], "drill: this fleet may not be broken on purpose"),
    ],
)
def test_a_fleet_that_serves_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["drill", *arguments])
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output


class StandIn(ThreadingHTTPServer):
    """Prometheus, Alertmanager and the receiver of webhooks at once; answers what a test sets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = {
            "/api/v1/alerts": {"data": {"alerts": []}},
            "/api/v2/alerts": [],
            "/received": [],
        }

    def firing(self, *labels: dict[str, str]) -> None:
        alerts = [{"state": "firing", "labels": each} for each in labels]
        self.answers["/api/v1/alerts"] = {"data": {"alerts": [*alerts, {"state": "pending", "labels": {}}]}}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        answer = self.server.answers[self.path.partition("?")[0]]
        body = json.dumps(answer() if callable(answer) else answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


LOST = {"alertname": "GpuLost", "host": "gpu1"}
FAULT = Fault("gpu1: lost", ("GpuLost",), {"host": "gpu1"})


def watch_of(stand_in: StandIn) -> Watch:
    url = f"http://127.0.0.1:{stand_in.server_port}"
    return Watch(url, url, f"{url}/received")


def test_times_are_those_of_the_alert_with_the_faults_labels(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("vllm_fleet.drill.watch.time.time", lambda: now)
    watch = watch_of(stand_in)
    stand_in.firing(LOST | {"host": "gpu2"})
    watch.look()
    now = 160.0
    stand_in.firing(LOST, LOST | {"host": "gpu2"})
    watch.look()
    stand_in.answers["/received"] = [
        {"at": 90.0, "status": "firing", "labels": LOST},
        {"at": 165.0, "status": "firing", "labels": LOST | {"host": "gpu2"}},
        {"at": 171.0, "status": "firing", "labels": LOST},
        {"at": 300.0, "status": "resolved", "labels": LOST},
    ]
    now = 220.0
    watch.look()
    planted = Planted(FAULT, begun=95.0, undone=200.0)
    assert outcome(watch, planted, "GpuLost") == Outcome(
        "GpuLost", "gpu1: lost", fired=65.0, received=76.0, resolved=None
    )
    now = 260.0
    stand_in.firing()
    watch.look()
    assert outcome(watch, planted, "GpuLost").resolved == 20.0


def test_what_was_firing_before_is_no_proof(stand_in: StandIn) -> None:
    watch = watch_of(stand_in)
    stand_in.firing(LOST)
    watch.look()
    seen = watch.alerts("GpuLost")[0].firing[0][0]
    watch.look()
    told = outcome(watch, Planted(FAULT, begun=seen + 0.001), "GpuLost")
    assert told.fired is None
    assert told.problem == "fired before"
    assert not told.good(receipts=False)


def test_who_silenced_an_alert_is_told(stand_in: StandIn) -> None:
    watch = watch_of(stand_in)
    stand_in.firing(LOST)
    held = [("a", {"alertname": "HostDown", "host": "gpu1"}, []), ("b", LOST, ["a", "gone"])]
    stand_in.answers["/api/v2/alerts"] = [
        {"fingerprint": mark, "labels": labels, "status": {"inhibitedBy": by}} for mark, labels, by in held
    ]
    watch.look()
    told = outcome(watch, Planted(FAULT, begun=0.0), "GpuLost")
    assert told.silenced_by == ("HostDown",)
    assert told.received is None
    assert told.good(receipts=True)


class Local:
    """Runs what a host would run on this machine."""

    def __init__(self, inventory: str) -> None:
        self.inventory = inventory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""

    def run(self, tasks: dict[str, Task], seconds: float) -> dict[str, Answer]:
        done = {host: subprocess.run(["sh", "-c", task.command], capture_output=True) for host, task in tasks.items()}
        return {host: Answer(True, each.stdout.decode()) for host, each in done.items()}


@pytest.fixture
def drilling(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drill:
    """A GPU is lost while the file `lost` is there."""
    monkeypatch.setattr(run, "Remote", Local)
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(run, "ROUND_SECONDS", 5.0)
    monkeypatch.setattr(run, "RECEIVED_SECONDS", 5.0)
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0.01)
    lost = tmp_path / "lost"
    firing = {"state": "firing", "labels": LOST}
    received: list[dict[str, Any]] = []

    def receive() -> list[dict[str, Any]]:
        if lost.exists():
            received.append({"at": time.time(), "status": "firing", "labels": LOST})
        return received

    stand_in.answers |= {
        "/api/v1/alerts": lambda: {"data": {"alerts": [firing] if lost.exists() else []}},
        "/api/v1/query": {"data": {"result": []}},
        "/received": receive,
    }
    return Drill("inventory", watch_of(stand_in), httpx.Client(), say=lambda _: None)


def test_a_fault_is_planted_awaited_and_undone(drilling: Drill, tmp_path: Path) -> None:
    step = Step("gpu1", f"touch {tmp_path}/lost", f"rm -f {tmp_path}/lost")
    (told,) = drilling.run([(replace(FAULT, steps=(step,)),)])
    assert told.good(receipts=True)
    assert told.fired is not None
    assert told.resolved is not None
    assert drilling.left == []
    assert not (tmp_path / "lost").exists()


def test_what_cannot_be_planted_or_undone_is_told(drilling: Drill, tmp_path: Path) -> None:
    step = Step("gpu1", "exit 3", "exit 4")
    (told,) = drilling.run([(replace(FAULT, steps=(step,)),)])
    assert told.problem == "gpu1: failed: exit 3"
    assert not told.good(receipts=False)
    assert drilling.left == ["gpu1: lost: gpu1: failed: exit 4"] * 2  # before the first round, and after


def test_an_interrupted_drill_undoes_and_tells_what_it_saw(drilling: Drill, tmp_path: Path) -> None:
    step = Step("gpu1", f"touch {tmp_path}/lost", f"rm -f {tmp_path}/lost")
    never = Fault("gpu1: never", ("GpuNvlink",), {"host": "gpu1"})

    def interrupt(text: str) -> None:
        if "1 of 2 alerts have fired" in text:
            raise KeyboardInterrupt

    drilling.say = interrupt
    first, second = drilling.run([(replace(FAULT, steps=(step,)), never)])
    assert first.fired is not None
    assert second.fired is None
    assert not (tmp_path / "lost").exists()
