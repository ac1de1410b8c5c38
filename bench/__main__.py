"""`make bench`: the same hosts to the same state with each contender, first run and nothing to do, and the table."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import files
from lab.state import read_nodes

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".lab" / "bench"
RESULT = ROOT / ".lab" / "bench.json"
FEW, MANY = 3, 24
REPEATS = 5
CHECKS = ["tests/host/test_base.py", "tests/host/test_firewall.py", "tests/host/test_monitoring.py"]

console = Console(highlight=False)


@dataclass(frozen=True)
class Contender:
    """Something that brings hosts to their state; `command` is for the first `n` of them."""

    name: str
    command: Callable[[int], list[str]]


@dataclass(frozen=True)
class Result:
    """Wall time of the first run (of many hosts: the first that has more than few to do) and of each with nothing to
    do, in seconds; the controller's peak memory."""

    contender: str
    hosts: int
    first: float
    again: list[float]
    memory_mib: float

    @property
    def nothing_to_do(self) -> float:
        return statistics.median(self.again)


def names(count: int) -> list[str]:
    return [f"node-{number}" for number in range(1, count + 1)]


def pyinfra(deploy: str) -> Callable[[int], list[str]]:
    def command(count: int) -> list[str]:
        limits = [part for name in names(count) for part in ("--limit", name)] if count < MANY else []
        return [str(Path(sys.executable).parent / "pyinfra"), "-y", files.INVENTORY, deploy, *limits]

    return command


def ansible(count: int) -> list[str]:
    playbook = [str(WORK / "venv/bin/ansible-playbook"), "-i", str(WORK / "hosts.yml"), "bench/ansible/playbook.yml"]
    return [*playbook, "-e", f"files={WORK / 'files'}", "--limit", ",".join(names(count))]


CONTENDERS = [
    Contender("vllm-fleet", pyinfra("deploy.py")),
    Contender("plain pyinfra", pyinfra("bench/plain/deploy.py")),
    Contender("Ansible", ansible),
]


def run(command: list[str]) -> tuple[float, float]:
    """Seconds of wall time and peak memory in MiB; ends the benchmark when the command fails."""
    environment = {**os.environ, "BENCH_FILES": str(WORK / "files"), "ANSIBLE_CONFIG": "bench/ansible/ansible.cfg"}
    began = time.monotonic()
    with (WORK / "log").open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"bench: {command[0]} ended with {code}; see {WORK / 'log'}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def fresh_hosts() -> None:
    """Every contender begins with hosts that nobody has touched."""
    environment = {**os.environ, "LAB_NODES": str(MANY)}
    for verb in ("down", "up"):
        subprocess.run([sys.executable, "-m", "lab", verb], cwd=ROOT, env=environment, check=True)


def prepare() -> None:
    """The rendered files, Ansible's inventory and Ansible itself, in an environment of its own."""
    facts = read_nodes()
    assert facts, "the hosts are up"
    files.main(WORK / "files")
    hosts = {
        name: {
            "ansible_host": address,
            "ansible_user": facts["ssh"]["user"],
            "ansible_ssh_private_key_file": facts["ssh"]["key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={facts['ssh']['known_hosts']}",
        }
        for name, address in facts["hosts"].items()
    }
    first: dict[str, object] = {"hosts": {"node-1": {}}}
    (WORK / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}, "gateway": first, "monitoring": first}))
    if not (WORK / "venv/bin/ansible-playbook").exists():
        subprocess.run([sys.executable, "-m", "venv", str(WORK / "venv")], check=True)
        pip = [str(WORK / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "--requirement", "bench/requirements.lock"], cwd=ROOT, check=True)


def measure(contender: Contender, count: int) -> Result:
    command = contender.command(count)
    first, memory = run(command)
    again: list[float] = []
    for _ in range(REPEATS):
        seconds, peak = run(command)
        again.append(seconds)
        memory = max(memory, peak)
    result = Result(contender.name, count, first, again, memory)
    console.print(f"{result.contender}, {count} hosts: nothing to do {result.nothing_to_do:.1f} s, {memory:.0f} MiB")
    return result


def same_state() -> None:
    """The same tests for every contender's hosts."""
    few = " or ".join(f"{name}]" for name in names(FEW))  # as pytest writes a host at the end of a test's name
    wanted = f"({few}) and not every_target"  # the other hosts are Prometheus' targets too
    run([sys.executable, "-m", "pytest", "-q", "--inventory", files.INVENTORY, "-k", wanted, *CHECKS])


def table(results: list[Result]) -> Table:
    ours = results[0]
    shown = Table("", f"first run, {ours.hosts} hosts", "nothing to do", "memory", box=None)
    for result in results:
        shown.add_row(
            result.contender,
            f"{result.first:.1f} s ({result.first / ours.first:.1f}x)",
            f"{result.nothing_to_do:.1f} s ({result.nothing_to_do / ours.nothing_to_do:.1f}x)",
            f"{result.memory_mib:.0f} MiB",
        )
    return shown


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    results = []
    for contender in CONTENDERS:
        fresh_hosts()
        prepare()
        results.append(measure(contender, FEW))
        same_state()
    ours, many = results[0], measure(CONTENDERS[0], MANY)
    RESULT.write_text(json.dumps([asdict(result) for result in [*results, many]], indent=2) + "\n")
    console.print(table(results))
    ratio = many.nothing_to_do / ours.nothing_to_do
    console.print(
        f"{MANY} hosts: nothing to do {many.nothing_to_do:.1f} s, {ratio:.1f} times as long as for {FEW}; "
        f"{many.memory_mib:.0f} MiB"
    )
    subprocess.run([sys.executable, "-m", "lab", "down"], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
