"""`fleet doctor`: what is sent to hosts, what is made of their answers, and what it prints when nobody answers."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fleets import IMAGE, example_fleet
from tests.unit.gpu_host import healthy_facts
from vllm_fleet.cli import main
from vllm_fleet.commands.doctor import PROGRAM
from vllm_fleet.commands.examination import Report, examine
from vllm_fleet.engine.release import release
from vllm_fleet.payload.doctor_facts.gather import FACTS
from vllm_fleet.planner.placement import on_host, place
from vllm_fleet.remote import LOADER, Answer, packed
from vllm_fleet.schema import Host

ROOT = Path(__file__).parents[2]
HOSTS = [
    Host(name="gpu1", address="10.0.0.11", groups=("gpu",), gpus=8, gpu="h200", interface="eth0"),
    Host(name="gpu2", address="10.0.0.12", groups=("gpu",), gpus=8, gpu="h200", interface="eth0"),
    Host(name="edge1", address="10.0.0.10", groups=("gateway", "monitoring")),
]
FLEET = example_fleet(hosts=HOSTS)
PLACEMENTS = place(FLEET)


def facts(host: Host) -> dict[str, Any]:
    """Those of a host where the declared releases run."""
    engines = {
        placement.instance: {"release": release(placement).id, "image": IMAGE}
        for placement in on_host(PLACEMENTS, host.name)
    }
    return healthy_facts(host.gpus, engines)


def reports(**other: Answer) -> dict[str, Report]:
    """Reports of the hosts, all of them healthy but those with another answer."""
    answers = {host.name: Answer(True, json.dumps(facts(host))) for host in HOSTS} | other
    return {report.host: report for report in examine(FLEET, PLACEMENTS, answers)}


def lines(report: Report) -> list[str]:
    return [f"{finding.severity} {finding}" for finding in report.findings]


def test_a_fleet_with_its_declared_releases_is_silent() -> None:
    assert [(report.host, report.reached, lines(report)) for report in reports().values()] == [
        (host.name, True, []) for host in HOSTS
    ]


def test_another_release_is_found() -> None:
    other = facts(HOSTS[0])
    other["engines"]["chat"]["current"] = "0123456789ab"
    (line,) = lines(reports(gpu1=Answer(True, json.dumps(other)))["gpu1"])
    assert line.startswith("error gpu1.engine.chat.release: is 0123456789ab, declared is ")


def test_a_host_that_is_not_reached_is_a_finding() -> None:
    found = reports(gpu1=Answer(False, error="Could not connect (timed out)"))
    assert (found["gpu1"].reached, found["gpu1"].facts) == (False, {})
    assert lines(found["gpu1"]) == [
        "error gpu1: cannot be reached: Could not connect (timed out); look at its power and network, and at the "
        "inventory's ssh settings"
    ]
    assert lines(found["gpu2"]) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(True, error="sudo: a password is required"), "sudo: a password is required"),
        (Answer(True, "Welcome!"), "it answered no facts"),
        (Answer(True, "[]"), "it answered no facts"),
        (Answer(True, '{"kernel": "6'), "it answered no facts"),
    ],
)
def test_a_host_that_gives_no_facts_is_a_finding(answer: Answer, why: str) -> None:
    report = reports(edge1=answer)["edge1"]
    assert (report.reached, report.facts) == (True, {})
    assert lines(report) == [
        f"error edge1: cannot be looked at: {why}; check that its user may use sudo, and that its "
        "python3 is 3.11 or newer"
    ]


def test_what_is_sent_runs_here() -> None:
    archive = packed(PROGRAM)
    ran = subprocess.run(
        [sys.executable, "-B", "-P", "-c", LOADER, PROGRAM.name],
        input=base64.b64encode(archive),
        capture_output=True,
        timeout=30,
    )
    assert ran.stderr == b""
    assert set(json.loads(ran.stdout)) == {*FACTS, "unread"}


def test_what_is_sent_is_small_and_always_the_same() -> None:
    archive = packed(PROGRAM)
    assert archive == packed(PROGRAM)
    assert len(archive) < 20_000


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def nowhere(tmp_path: Path, closed_port: int) -> Path:
    """The example `single`, with a host that cannot be reached, and an inventory that prints."""
    for folder in ("inventories", "group_data"):
        (tmp_path / folder).mkdir()
        text = (ROOT / folder / "single.py").read_text(encoding="utf-8")
        (tmp_path / folder / "single.py").write_text(
            text.replace(
                '"ssh_hostname": "box-1.example.net"', f'"ssh_hostname": "127.0.0.1", "ssh_port": {closed_port}'
            )
        )
    inventory = tmp_path / "inventories" / "single.py"
    inventory.write_text(inventory.read_text() + "import sys\nprint('aside', file=sys.__stdout__)\n")
    return inventory


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.mark.usefixtures("no_inventory_read")
def test_nobody_there(nowhere: Path) -> None:
    ran = doctor(str(nowhere))
    assert ran.exit_code == 1
    assert "│ box-1 │ -       │ cannot be reached: Could not connect (" in ran.stdout
    assert ran.stdout.endswith("\n1 error: 1 host, 1 engine\n")
    assert "\x1b" not in ran.stdout


@pytest.mark.usefixtures("no_inventory_read")
def test_nobody_there_for_programs(nowhere: Path) -> None:
    ran = doctor(str(nowhere), "--json")
    said = json.loads(ran.stdout)
    assert (ran.exit_code, said["ok"], list(said["hosts"])) == (1, False, ["box-1"])
    assert (said["hosts"]["box-1"]["reached"], said["hosts"]["box-1"]["facts"]) == (False, {})
    (finding,) = said["hosts"]["box-1"]["findings"]
    assert (finding["severity"], finding["path"]) == ("error", "box-1")


def test_no_such_inventory() -> None:
    ran = doctor("inventories/prud.py")
    assert ran.exit_code == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("Error: inventories/prud.py: no such inventory; in that folder are: ")


@pytest.mark.parametrize(
    ("imported", "not_yet"),
    [
        # what pyinfra's own process is started by: the schema and tables are imported beside it
        ("vllm_fleet.cli, vllm_fleet.commands.doctor", ["pyinfra", "gevent", "pydantic", "rich"]),
        ("vllm_fleet.commands.plan, vllm_fleet.commands.check, vllm_fleet.commands.ask", ["pyinfra", "gevent"]),
    ],
)
def test_no_command_waits_for_what_it_does_not_need_yet(imported: str, not_yet: list[str]) -> None:
    code = f"import sys, {imported}; print(*{{*{not_yet}}} & {{*sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
