"""Whose the memory of a GPU is: the systemd unit of each process that holds some.

A process names its cgroup, and a unit's processes are in the unit's. A container's are in a scope of Docker's own
(`docker-ID.scope`, or `/docker/ID` with the cgroupfs driver). There the engine is told by its command line, which names
the file with its key (`--config /etc/vllm-fleet/engines/INSTANCE/secret.yaml`) and which is that of a forefather where
workers have titles of their own (vLLM 0.33). A container of others keeps the name of its scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CONTAINER = re.compile(r"(?:docker-|/docker/)([0-9a-f]{64})(?:\.scope)?$")
_ENGINE = re.compile(r"/etc/vllm-fleet/engines/([^/\0]+)/")
_FOREFATHERS = 8


def memory_by_unit(processes: Iterable[Any], root: Path = Path("/proc")) -> dict[str, int]:
    """Bytes by unit; `` for a process that is in none, or that is not seen (another PID namespace's)."""
    held: dict[str, int] = {}
    for process in processes:
        if process.usedGpuMemory is not None:
            unit = unit_of(process.pid, root)
            held[unit] = held.get(unit, 0) + process.usedGpuMemory
    return held


def unit_of(pid: int, root: Path = Path("/proc")) -> str:
    """`vllm-chat.service`, or `` for none."""
    group = cgroup(_read(root / str(pid) / "cgroup"))
    if container := _CONTAINER.search(group):
        return _engine(pid, root) or f"docker-{container[1][:12]}.scope"
    units = [part for part in group.split("/") if part.endswith((".service", ".scope"))]
    return units[-1] if units else ""


def cgroup(text: str) -> str:
    """The path in /proc/PID/cgroup that systemd made: of version 2, or of its own hierarchy (cgroups(7))."""
    rows = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    return next((path for number, what, path in rows if what == "name=systemd" or (number, what) == ("0", "")), "")


def _engine(pid: int, root: Path) -> str | None:
    for _ in range(_FOREFATHERS):
        if found := _ENGINE.search(_read(root / str(pid) / "cmdline")):
            return f"vllm-{found[1]}.service"
        parent = re.search(r"^PPid:\s*(\d+)", _read(root / str(pid) / "status"), re.MULTILINE)
        if not parent or parent[1] in ("0", "1"):
            break
        pid = int(parent[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return ""
