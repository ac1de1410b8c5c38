"""One background process that runs the hosts and the mirrors, and starts a host again after a reboot inside.

`systemd-nspawn --keep-unit` ends when its host reboots, so somebody must start it again. A host that was powered
off stays off until `up`. The supervisor holds no facts of its own: it reads its children from a file that `up` writes,
and writes what they are doing to another, for `status`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import cgroup
from lab.hosts import REBOOTED
from lab.topology import PATHS, Paths

POLL_SECONDS = 0.2
MIRROR_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Child:
    """One program to run: a host (which may reboot or power off) or a mirror (which always runs)."""

    name: str
    argv: list[str]
    log: str
    kind: str  # "host" or "mirror"

    @property
    def cgroup(self) -> str:
        return f"{self.kind}-{self.name}"


@dataclass
class Running:
    """What became of a child."""

    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    ended: str = ""
    not_before: float = field(default=0.0)


def children_file(paths: Paths) -> Path:
    return paths.run / "children.json"


def status_file(paths: Paths) -> Path:
    return paths.run / "status.json"


def start_again(kind: str, code: int) -> bool:
    """Whether a child that ended with `code` runs again by itself."""
    return kind == "mirror" or code == REBOOTED


class Supervisor:
    """Polls its children; single-threaded, because a parent-death signal follows the thread that forked."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.children = [Child(**row) for row in json.loads(children_file(paths).read_text())]
        self.running = {child.name: Running() for child in self.children}
        self.asked_to_start = True

    def start(self, child: Child) -> None:
        """Run a child in a cgroup of its own; it dies with the supervisor."""
        state = self.running[child.name]
        cgroup.kill(child.cgroup)
        argv = cgroup.inside(child.cgroup, ["setpriv", "--pdeathsig", "KILL", *child.argv])
        with open(child.log, "ab") as log:
            state.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        state.starts += 1
        state.ended = ""
        self.say(f"{child.name}: started (pid {state.process.pid})")

    def look(self, child: Child) -> bool:
        """Start, or note the end of, one child; says whether anything changed."""
        state = self.running[child.name]
        if state.process is not None:
            code = state.process.poll()
            if code is None:
                return False
            state.process = None
            state.ended = "rebooting" if code == REBOOTED else f"exit {code}"
            self.say(f"{child.name}: {state.ended}")
            if start_again(child.kind, code):
                state.not_before = time.monotonic() + (MIRROR_PAUSE_SECONDS if child.kind == "mirror" else 0)
            else:
                state.not_before = float("inf")
            return True
        if time.monotonic() >= state.not_before:
            self.start(child)
            return True
        return False

    def write_status(self) -> None:
        """What `status` shows, replaced whole so that no reader sees half of it."""
        rows = {
            child.name: {
                "kind": child.kind,
                "pid": state.process.pid if state.process else None,
                "starts": state.starts,
                "ended": state.ended,
            }
            for child in self.children
            for state in [self.running[child.name]]
        }
        file = status_file(self.paths)
        half = file.with_suffix(".half")
        half.write_text(json.dumps({"supervisor": os.getpid(), "children": rows}, indent=2))
        half.replace(file)

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def run(self) -> None:
        """For ever; `down` ends it through the cgroup."""
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "asked_to_start", True))
        while True:
            if self.asked_to_start:
                self.asked_to_start = False
                for state in self.running.values():
                    state.not_before = 0.0
            changes = [self.look(child) for child in self.children]
            if any(changes):
                self.write_status()
            time.sleep(POLL_SECONDS)  # the pace of its looks; it runs until `down`


def launch(children: list[Child], paths: Paths) -> None:
    """Start the supervisor in the background, in a session of its own."""
    children_file(paths).write_text(json.dumps([asdict(child) for child in children], indent=2))
    argv = cgroup.inside("supervisor", [sys.executable, "-m", "lab.supervisor"])
    with (paths.run / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            argv, cwd=paths.repo, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def pid(paths: Paths) -> int | None:
    """The supervisor's process id, if the recorded one is really ours: alive and in the lab's own cgroup.

    The record may be older than the machine's last boot, and its number may belong to somebody else by now.
    """
    try:
        recorded = int(json.loads(status_file(paths).read_text())["supervisor"])
        argv = Path("/proc", str(recorded), "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError):
        return None
    return recorded if b"lab.supervisor" in argv and recorded in cgroup.processes() else None


def other_checkout(paths: Paths) -> str:
    """The checkout whose lab runs on this machine, if it is not this one (there can be only one lab)."""
    file = cgroup.root() / "supervisor" / "cgroup.procs"
    for running in file.read_text().split() if file.exists() else []:
        try:
            directory = os.readlink(f"/proc/{running}/cwd")
        except OSError:  # it ended while we looked
            continue
        if directory != str(paths.repo) and Path(directory).exists():
            return directory
    return ""


def status(paths: Paths) -> dict[str, dict[str, Any]]:
    """What the supervisor last wrote about its children, if it runs."""
    if pid(paths) is None:
        return {}
    return dict(json.loads(status_file(paths).read_text())["children"])


if __name__ == "__main__":
    Supervisor(PATHS).run()
