"""`fleet fabric`: what it asks of whom, and what it prints; the hosts' answers are the test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result

from vllm_fleet.cli import main
from vllm_fleet.commands import fabric
from vllm_fleet.engine.fabric import SECONDS
from vllm_fleet.remote import Answer, Task

INVENTORY = Path(__file__).parents[2] / "inventories" / "prod.py"
SPEEDS = [{"bytes": 1 << 20, "seconds": 0.002, "bus_gigabytes_per_second": 12.5}]
MEASURED = {"backend": "nccl", "interface": "bond0", "mtu": 9000, "all_reduce": SPEEDS}


def report(rank: int, *findings: str, **more: Any) -> Answer:
    found = [{"what": what, "mend": "do so"} for what in findings]
    said = json.dumps({"rank": rank, "ok": not found, "findings": found} | more)
    return Answer(True, said, "it failed" if found else "")


class Hosts:
    """Stands for `Remote`: notes what it was asked, and answers what it was given."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[Mapping[str, Task], float]] = []

    def __call__(self, _inventory: str) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, tasks: Mapping[str, Task], seconds: float) -> Mapping[str, Answer]:
        self.asked.append((tasks, seconds))
        return self.answers


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str, **answers: Answer) -> tuple[Result, Hosts]:
        hosts = Hosts({name.replace("_", "-"): answer for name, answer in answers.items()})
        monkeypatch.setattr(fabric, "Remote", hosts)
        return CliRunner().invoke(main, ["fabric", str(INVENTORY), *arguments]), hosts

    return run


def test_each_member_is_asked_at_once_and_the_speeds_are_shown(run: Any) -> None:
    result, hosts = run("large", gpu_2=report(0, **MEASURED), gpu_3=report(1))
    assert result.exit_code == 0
    ((tasks, seconds),) = hosts.asked
    assert seconds == SECONDS
    assert [task.command.split("--rank ")[1].split()[0] for task in tasks.values()] == ["0", "1"]
    lines = result.output.splitlines()
    assert lines[0] == "large replica 0: gpu-2, gpu-3 (nccl over bond0, MTU 9000)"
    assert [cell.strip() for cell in lines[4].split("│")[1:-1]] == ["1 MiB", "2.00 ms", "100.0 Gbit/s"]
    assert lines[-1] == "all is well"


def test_what_is_wrong_is_a_line_each_and_exit_code_1(run: Any) -> None:
    found = "rank 1: there is no interface bond1"
    result, _ = run("large", gpu_2=report(0, found), gpu_3=report(1, found))
    assert result.exit_code == 1
    assert result.output.splitlines() == ["large replica 0: gpu-2, gpu-3", f"{found}; do so"]


def test_a_host_that_is_not_reached_is_named(run: Any) -> None:
    result, _ = run("large", gpu_2=report(0, **MEASURED), gpu_3=Answer(False, error="timed out"))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "gpu-3: the check did not run: timed out"


def test_json_has_all_of_it(run: Any) -> None:
    result, _ = run("large", "--json", gpu_2=report(0, **MEASURED), gpu_3=report(1))
    said = json.loads(result.stdout)
    assert said["ok"] is True
    (replica,) = said["replicas"]
    assert (replica["replica"], replica["hosts"], replica["problems"]) == (0, ["gpu-2", "gpu-3"], [])
    assert replica["report"]["all_reduce"] == SPEEDS


@pytest.mark.parametrize("service", ["chat", "absent"])
def test_a_service_inside_one_host_has_no_network_to_prove(run: Any, service: str) -> None:
    result, hosts = run(service)
    assert result.exit_code == 2
    assert f"'{service}' is no service that spans hosts; this inventory's are: large" in result.output
    assert hosts.asked == []
