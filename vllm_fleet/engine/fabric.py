"""The proof that the hosts of a replica can talk: what each of its members runs, and what they answer.

The program is payload/fabric_check, run with the engine's own interpreter, libraries, variables and devices.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_fleet import paths
from vllm_fleet.engine.command import DOCKER, container_devices, container_walls, venv_directory
from vllm_fleet.engine.environment import environment
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Container

SECONDS = 330
"""What it may take at most: the program's own deadline (payload/fabric_check/check.py), and a container's start."""


@dataclass(frozen=True)
class Proof:
    """What came of it, over all members of a replica."""

    problems: tuple[str, ...]
    """A line each; none when all is well."""
    report: dict[str, Any]
    """Rank 0's: backend, interface, mtu, all_reduce; empty when it had none."""

    @property
    def gbit(self) -> float | None:
        """The best bus bandwidth of the all-reduce."""
        speeds = [each["bus_gigabytes_per_second"] * 8 for each in self.report.get("all_reduce", [])]
        return max(speeds, default=None)


def proof_command(placement: Placement, port: int) -> str:
    """The shell command of one member; `port` is rank 0's, free on it. All members run theirs at the same time."""
    service, host = placement.service, placement.host
    variables = environment(placement)
    check = ["-B", "-m", "fabric_check", "--rank", str(placement.rank), "--world", str(len(placement.members))]
    check += ["--address", placement.members[0].address, "--port", str(port), "--host-address", host.address]
    check += ["--interface", host.interface or "", "--device", service.device]
    check += ["--local-gpus", str(service.ranks_per_node)]
    if host.fabric_gbit:
        check += ["--expect-gbit", f"{host.fabric_gbit:g}"]
    runtime = service.runtime
    if isinstance(runtime, Container):
        argv = [DOCKER, "run", "--rm", *container_walls(placement), *container_devices(placement)]
        argv += ["--workdir", paths.PROGRAMS]
        argv += ["--volume", f"{paths.FABRIC_CHECK}:{paths.FABRIC_CHECK}:ro"]
        argv += [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
        return shlex.join([*argv, "--entrypoint", "python3", runtime.image, *check])
    settings = [f"{name}={value}" for name, value in variables.items()]
    python = f"{venv_directory(runtime)}/bin/python"
    return f"cd {paths.PROGRAMS} && {shlex.join(['env', *settings, python, *check])}"


def fabric_digest(placement: Placement) -> str:
    """Stands for the network of a replica: it is proven anew when a member, its interface or its fabric changes."""
    network = [
        [host.name, host.address, host.interface, host.joined_by, host.infiniband, host.fabric_gbit]
        for host in placement.members
    ]
    return hashlib.sha256(json.dumps(network).encode()).hexdigest()[:12]


def proof_of(answers: Mapping[str, tuple[str, str]]) -> Proof:
    """From what each member printed, and why it failed (empty where it did not), by host in rank order."""
    reports = {host: _report(printed) for host, (printed, _) in answers.items()}
    # rank 0 has heard the others; where it could not, each has its own
    found = dict.fromkeys(
        f"{finding['what']}; {finding['mend']}" for report in reports.values() for finding in report.get("findings", [])
    )
    silent = [
        f"{host}: the check did not run: {error or 'it printed no report'}"
        for host, (_, error) in answers.items()
        if not reports[host]
    ]
    first = next(iter(reports.values()), {})
    return Proof((*silent, *found), first)


def _report(printed: str) -> dict[str, Any]:
    """The program's one line of JSON, which other output may surround."""
    for line in reversed(printed.splitlines()):
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict) and "findings" in report:
            return report
    return {}
