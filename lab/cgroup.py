"""One cgroup tree for every process of the lab: how `down` finds all of them, whoever started them.

Each host needs a cgroup of its own anyway: `systemd-nspawn --keep-unit` puts a host's payload below the cgroup
that it was started in, so that two hosts started in one cgroup would share (and tidy away) each other's units.
A cgroup outlives its supervisor and vanishes with the machine, which makes it safer than a list of process ids.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.topology import CGROUP


def mount_point(mounts: str) -> Path | None:
    """Where cgroup v2 is mounted, from the text of /proc/mounts."""
    for line in mounts.splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def root() -> Path:
    """The lab's cgroup directory (which need not exist yet)."""
    found = mount_point(Path("/proc/mounts").read_text())
    if found is None:
        raise LabError(
            "no cgroup v2 hierarchy is mounted, and systemd hosts need one; mount it with: "
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
        )
    return found / CGROUP


def inside(name: str, argv: Sequence[str]) -> list[str]:
    """An argv that joins the lab's cgroup `name` and then becomes `argv`."""
    directory = root() / name
    directory.mkdir(parents=True, exist_ok=True)
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(directory / "cgroup.procs"), *argv]


def processes() -> list[int]:
    """Every process of the lab (0 for one that is not visible from here)."""
    return [int(pid) for file in root().glob("**/cgroup.procs") for pid in _read(file).split()]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the cgroup went away while we looked
        return ""


def kill(name: str = "", deadline: float = 20.0) -> None:
    """SIGKILL everything in the tree (or in its part `name`), wait until it is empty, and remove it."""
    top = root() / name
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1")
    end = time.monotonic() + deadline
    while "populated 1" in _read(top / "cgroup.events"):
        if time.monotonic() > end:
            raise LabError(f"processes of the lab did not end within {deadline:.0f} s after SIGKILL: {top}")
        time.sleep(0.05)  # the kernel ends killed processes in its own time; bounded above
    for directory in sorted(top.glob("**/"), key=lambda path: len(path.parts), reverse=True):
        directory.rmdir()
