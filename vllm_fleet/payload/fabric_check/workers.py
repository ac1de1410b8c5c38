"""The all-reduce, seen from the check: its processes, and what their results mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

from .findings import Finding, finding
from .worker import RESULT, TOO_FEW


def bandwidth_findings(all_reduce: list[dict[str, Any]], expected_gbit: float | None) -> list[Finding]:
    """Whether the best size fell short of what the fabric should give (gigabits a second of bus bandwidth)."""
    best = max((each["bus_gigabytes_per_second"] for each in all_reduce), default=0.0) * 8
    if not expected_gbit or best >= expected_gbit:
        return []
    return [
        finding(
            f"the all-reduce reached {best:.1f} Gbit/s of bus bandwidth, expected are {expected_gbit:g}",
            "look at the link's speed (ethtool, ibstat); with NCCL_DEBUG=INFO, NET/Socket means TCP, and NET/IB "
            "without GDRDMA goes through the host's memory",
        )
    ]


class Workers:
    """One process a GPU of this host, each with its output in a file that nobody else sees."""

    def __init__(self) -> None:
        self.running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []

    def start(self, specification: dict[str, Any], interface: str) -> None:
        # what an engine gets (engine/environment.py); all else stays as it is, NCCL_NVLS_ENABLE=0 too
        wires = {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as its worker
        command = [sys.executable, "-m", __package__, "worker", json.dumps(specification)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **wires}
        )
        self.running.append((process, output))

    def wait(self, deadline: float, disturbed: Callable[[], bool]) -> list[dict[str, Any]]:
        """The result of each, or `error`; nothing where another host disturbed them.

        The others are killed a while after the first that fails.
        """
        while any(process.poll() is None for process, _ in self.running) and time.monotonic() < deadline:
            if disturbed():
                self.kill()
                return []
            if any(process.poll() for process, _ in self.running):
                deadline = min(deadline, time.monotonic() + 3.0)
            time.sleep(0.05)  # workers and other hosts both end this, whichever is first
        late = [process.poll() is None for process, _ in self.running]
        self.kill()
        return [
            {"error": "did not end in time"} if still else _result(output, process.returncode)
            for (process, output), still in zip(self.running, late, strict=True)
        ]

    def kill(self) -> None:
        for process, _ in self.running:
            process.kill()
        for process, _ in self.running:
            process.wait()


def _result(output: IO[bytes], status: int) -> dict[str, Any]:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(RESULT):
            return dict(json.loads(line.removeprefix(RESULT)))
    last = next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
    return {"error": f"a worker ended with status {status}: {last}"}


def worker_findings(results: list[dict[str, Any]]) -> list[Finding]:
    """Each different error once: the first, and not the ones that only say that others went away."""
    errors = [each["error"] for each in results if each.get("error")]
    first = [each for each in errors if each != "did not end in time"] or errors
    mend = "run it with NCCL_DEBUG=INFO for what NCCL tried"
    if any("No module named 'torch'" in each for each in first):
        mend = "run it with the interpreter of the engine's image or virtual environment"
    if any(TOO_FEW in each for each in first):
        mend = "declare as many GPUs as the host has, and give the container all of them"
    return [finding(f"the all-reduce failed: {error}", mend) for error in dict.fromkeys(first)]
