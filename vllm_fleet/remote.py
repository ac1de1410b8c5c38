"""Runs something on each of many hosts of an inventory at once, as root, and brings back what it prints.

Hosts are reached as pyinfra reaches them: by its own connectors, with the settings of the inventory and its group data.
That happens in a process of its own (`python -m vllm_fleet.remote`), for two reasons: pyinfra replaces Python's sockets
and threads (gevent), and takes half a second to import; and a process can be ended when its time is up, whatever hangs.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

CONNECT_SECONDS = 20
"""Until a host is connected: sshd of a busy one greets late."""
START_SECONDS = 10
"""For pyinfra's own start."""

# Read from stdin into memory: nothing of it is in sudo's log, nothing is written to the host's disk, which may be full,
# and nothing is left behind however it ends. zipimport wants a path, which a file in memory has.
LOADER = """\
import base64, os, runpy, sys
archive = os.memfd_create("package")
with open(archive, "wb", closefd=False) as file:
    file.write(base64.b64decode(sys.stdin.buffer.read()))
sys.path.insert(0, f"/proc/self/fd/{archive}")
runpy.run_module(sys.argv[1], run_name="__main__")
"""


@dataclass(frozen=True)
class Task:
    """What one host does: a shell command, and what that reads from stdin."""

    command: str
    stdin: str = ""


def package_task(package: Path) -> Task:
    """Runs a Python package of ours, which the host needs not have."""
    command = ["python3", "-B", "-P", "-c", LOADER, package.name]
    return Task(shlex.join(command), base64.b64encode(packed(package)).decode())


@dataclass(frozen=True)
class Answer:
    """What came back from one host."""

    reached: bool
    output: str = ""
    """All that the command printed."""
    error: str = ""
    """Why the host was not reached, or how the command failed; empty when it did not."""


def packed(package: Path) -> bytes:
    """The package's modules as a zip; the same modules always give the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for module in sorted(package.glob("*.py")):
            # without a time of its own: ZipInfo's default is 1980
            file.writestr(zipfile.ZipInfo(f"{package.name}/{module.name}"), module.read_bytes(), zipfile.ZIP_DEFLATED)
    return archive.getvalue()


class Remote:
    """Hosts of an inventory (`inventories/NAME.py`), for one question.

    pyinfra starts and reads the inventory while the caller does so too, which takes both a second; no host is contacted
    before `run`. pyinfra reads it as if it were started in the directory above the inventory's.
    """

    def __init__(self, inventory: str) -> None:
        path = Path(inventory).absolute()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vllm_fleet.remote", str(path)],
            cwd=path.parent.parent if path.is_file() else None,  # the caller says it of one that is not there
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # without a terminal: nothing in there may wait for a person to type
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, tasks: Mapping[str, Task], seconds: float = CONNECT_SECONDS) -> dict[str, Answer]:
        """Each host's answer by its name, connected and answered within `seconds`. Raises nothing of a host's."""
        asked = {"tasks": {name: asdict(task) for name, task in tasks.items()}, "seconds": seconds}
        try:
            said, errors = self._process.communicate(json.dumps(asked).encode(), timeout=seconds + START_SECONDS)
            last = _last_line(errors.decode(errors="replace")) or "ended without an answer"
        except subprocess.TimeoutExpired as expired:
            said, last = expired.stdout or b"", f"no answer within {seconds + START_SECONDS:g} s"
        answers = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
        found = {name: Answer(**answer) for name, answer in answers}
        return {name: found.get(name) or Answer(False, error=last) for name in tasks}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def main() -> None:
    """The process with pyinfra. Once it has read the inventory, it takes what to run in JSON from stdin, and prints a
    line `[host, answer]` as each comes in."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # an inventory that prints must not mix with them

        def tell(name: str, answer: Answer) -> None:
            answers.write(json.dumps([name, asdict(answer)]) + "\n")
            answers.flush()

        _ask(tell)


def _ask(tell: Callable[[str, Answer], None]) -> None:
    from pyinfra_cli.inventory import make_inventory  # isort: skip  # first: it makes sockets gevent's
    from pyinfra.api import Config, State
    from pyinfra.context import ctx_state

    state = State()
    ctx_state.set(state)  # what reads inventories notes there which file it reads
    inventory = make_inventory(sys.argv[1], cwd=os.getcwd())
    state.init(inventory, Config(SUDO=True, CONNECT_TIMEOUT=CONNECT_SECONDS))
    asked = json.load(sys.stdin)

    def work(host: Any) -> None:
        tell(host.name, _answer(state, host, Task(**asked["tasks"][host.name]), asked["seconds"]))

    running = [state.pool.spawn(work, host) for host in inventory if host.name in asked["tasks"]]
    for each in running:
        each.join()
    os._exit(0)  # connections that hang are given up, not waited for


def _answer(state: Any, host: Any, task: Task, seconds: float) -> Answer:
    from gevent import Timeout
    from pyinfra.api import QuoteString, StringCommand
    from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments

    reached = False
    try:
        with Timeout(seconds):
            host.connect(show_errors=False, raise_exceptions=True)
            reached = True
            given, _ = pop_global_arguments(state, host, {})  # how the inventory says to become root
            given = {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS}
            command = StringCommand("sh", "-c", QuoteString(task.command))
            good, output = host.run_shell_command(command, **{**given, "_stdin": task.stdin})
    except Timeout:
        return Answer(reached, error=f"no answer within {seconds:g} s")
    except EOFError:  # pyinfra asks for a password where there is nobody to type one
        return Answer(reached, error="a password is wanted; set `_sudo_password` or `ssh_key_password`, or do without")
    except Exception as error:  # whatever a connector raises is that host's answer, and no other's
        return Answer(reached, error=_last_line(str(error)) or type(error).__name__)
    why = _last_line(output.stderr) or "it failed without a word"
    return Answer(True, output.stdout, "" if good else why)


if __name__ == "__main__":
    main()
