"""Who is told of what, and what keeps silent: Alertmanager itself decides, with our configuration.

Debian's prometheus-alertmanager for the tests marked `tools`, of both releases: 0.25 and 0.28.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from lab.topology import RELEASES
from tests.tools import tool
from vllm_fleet.observe.alertmanager import alertmanager_config
from vllm_fleet.observe.alerts import ALERTS, Severity

pytestmark = pytest.mark.tools

DEADLINE = 60.0
SEVERITY = {alert.name: alert.severity for alert in ALERTS}


@dataclass
class Receivers:
    """Webhooks of all severities, on one port."""

    got: dict[str, list[str]] = field(default_factory=lambda: {severity: [] for severity in get_args(Severity)})
    """Names of the alerts that each was told of."""

    def serve(self) -> ThreadingHTTPServer:
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got[self.path[1:]] += [alert["labels"]["alertname"] for alert in told["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """The test says what it needs."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@dataclass
class Alertmanager:
    """A running one."""

    url: str
    receivers: Receivers

    def post(self, *alerts: dict[str, str]) -> None:
        """Alerts that fire from now on, by their labels."""
        body = [{"labels": {"severity": SEVERITY[labels["alertname"]], **labels}} for labels in alerts]
        self._ask("/api/v2/alerts", json.dumps(body).encode())

    def inhibited(self) -> dict[str, set[str]]:
        """Each alert that it has, and the names of those that silence it."""
        alerts = self._ask("/api/v2/alerts")
        names = {alert["fingerprint"]: alert["labels"]["alertname"] for alert in alerts}
        return {alert["labels"]["alertname"]: {names[by] for by in alert["status"]["inhibitedBy"]} for alert in alerts}

    def answers(self) -> bool:
        try:
            return bool(self._ask("/api/v2/status"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def _ask(self, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


@pytest.fixture(params=RELEASES)
def alertmanager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Alertmanager]:
    """Debian's, on the loopback, with what we render but for the waits before a first message."""
    receivers = Receivers()
    with receivers.serve() as webhooks:
        url = f"http://127.0.0.1:{webhooks.server_port}"
        config = alertmanager_config({severity: f"{url}/{severity}" for severity in get_args(Severity)})
        for route in (config["route"], *config["route"]["routes"]):
            route["group_wait"] = "1s"
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        argv = [
            tool("prometheus-alertmanager", request.param),
            f"--config.file={tmp_path / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with (tmp_path / "log").open("w") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
            running = Alertmanager(f"http://127.0.0.1:{port}", receivers)
            try:
                wait(lambda: running.answers() or process.poll() is not None, tmp_path / "log")
                assert process.poll() is None, (tmp_path / "log").read_text()
                yield running
            finally:
                process.terminate()
        webhooks.shutdown()


def wait(condition: Callable[[], bool], log: Path | None = None) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, log.read_text() if log else "not in time"
        time.sleep(0.1)  # between looks; bounded above


def alert(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, **labels}


def silenced(running: Alertmanager, causes: list[dict[str, str]], others: list[dict[str, str]]) -> dict[str, set[str]]:
    """What silences each of the others, once the causes are known (Alertmanager names the first that does); the rest is
    told, each to its receiver, and nothing else."""
    running.post(*causes)
    wait(lambda: len(running.inhibited()) == len(causes))
    running.post(*others)
    wait(lambda: len(running.inhibited()) == len(causes) + len(others))
    found = running.inhibited()
    told = {name for name, by in found.items() if not by}
    wait(lambda: told <= {name for names in running.receivers.got.values() for name in names})
    for severity, names in running.receivers.got.items():
        assert set(names) == {name for name in told if SEVERITY[name] == severity}
    return {each["alertname"]: found[each["alertname"]] for each in others}


def test_each_severity_has_its_receiver(alertmanager: Alertmanager) -> None:
    others = [alert("Watchdog"), alert("GpuLost", host="gpu1", gpu="3"), alert("GpuPcieDegraded", host="gpu1", gpu="4")]
    assert not any(silenced(alertmanager, [], others).values())
    assert {severity: set(names) for severity, names in alertmanager.receivers.got.items()} == {
        "page": {"GpuLost"},
        "ticket": {"GpuPcieDegraded"},
        "watchdog": {"Watchdog"},
    }


def test_a_dead_host_silences_what_is_on_it(alertmanager: Alertmanager) -> None:
    here = {"host": "gpu1"}
    found = silenced(
        alertmanager,
        [alert("HostDown", **here)],
        [
            alert("GpuTelemetryLost", **here),
            alert("TargetDown", **here, job="node"),
            alert("GatewayDown", **here, job="haproxy"),
            alert("VllmDown", **here, service="chat", replica="0"),
            alert("GpuLost", host="gpu2", gpu="3"),
            # no replica is left: its clients must be told of
            alert("VllmServiceDown", service="coder"),
            alert("Watchdog"),
        ],
    )
    assert found == {
        "GpuTelemetryLost": {"HostDown"},
        "TargetDown": {"HostDown"},
        "GatewayDown": {"HostDown"},
        "VllmDown": {"HostDown"},
        "GpuLost": set(),
        "VllmServiceDown": set(),
        "Watchdog": set(),
    }


def test_a_dead_service_silences_its_replicas_and_objectives(alertmanager: Alertmanager) -> None:
    of_chat = {"service": "chat"}
    found = silenced(
        alertmanager,
        [alert("VllmServiceDown", **of_chat)],
        [
            alert("VllmDown", **of_chat, host="gpu1", replica="0"),
            alert("VllmLoadingTooLong", **of_chat, host="gpu2", replica="1"),
            alert("VllmReplicasMissing", **of_chat),
            alert("ErrorsFastBurn", **of_chat, slo="errors"),
            alert("TtftFastBurn", service="coder", slo="ttft"),
            # the cause, perhaps
            alert("GpuLost", host="gpu1", gpu="3"),
        ],
    )
    assert found == {
        "VllmDown": {"VllmServiceDown"},
        "VllmLoadingTooLong": {"VllmServiceDown"},
        "VllmReplicasMissing": {"VllmServiceDown"},
        "ErrorsFastBurn": {"VllmServiceDown"},
        "TtftFastBurn": set(),
        "GpuLost": set(),
    }


def test_a_lost_gpu_silences_what_else_is_said_of_it(alertmanager: Alertmanager) -> None:
    lost = {"host": "gpu1", "gpu": "3"}
    found = silenced(
        alertmanager,
        [alert("GpuLost", **lost)],
        [
            alert("GpuXidFatal", **lost, xid="79"),
            alert("GpuNvlink", host="gpu1", gpu="4"),
            alert("GpuThermalThrottle", host="gpu2", gpu="3"),
            alert("GpuTelemetryLost", host="gpu1"),
        ],
    )
    assert found == {
        "GpuXidFatal": {"GpuLost"},
        "GpuNvlink": set(),
        "GpuThermalThrottle": set(),
        "GpuTelemetryLost": set(),
    }


def test_the_fastest_burn_of_an_objective_is_told(alertmanager: Alertmanager) -> None:
    ttft, itl = {"service": "chat", "slo": "ttft"}, {"service": "chat", "slo": "itl"}
    found = silenced(
        alertmanager,
        [alert("TtftFastBurn", **ttft), alert("ItlSlowBurn", **itl)],
        [
            alert("TtftSlowBurn", **ttft),
            alert("TtftBudgetTicket", **ttft),
            alert("ItlBudgetTicket", **itl),
            alert("ErrorsBudgetTicket", service="chat", slo="errors"),
        ],
    )
    assert found == {
        "TtftSlowBurn": {"TtftFastBurn"},
        "TtftBudgetTicket": {"TtftFastBurn"},
        "ItlBudgetTicket": {"ItlSlowBurn"},
        "ErrorsBudgetTicket": set(),
    }
