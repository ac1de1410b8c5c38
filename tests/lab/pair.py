"""The lab's service that spans two hosts, as tests see it."""

from __future__ import annotations

from tests.lab.conftest import Lab, wait_until

MODEL = "tiny-llama-pair"
UNIT = "vllm-pair"
HOSTS = ("gpu-1", "gpu-2")
"""In rank order."""
RECOVERY_SECONDS = 300
"""Bounds a wait on a busy machine; docs/faults.md has measured times."""


class Pair:
    """The one replica, on both hosts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def answers(self) -> bool:
        return self.lab.complete(MODEL).status_code == 200

    def await_answer(self) -> None:
        wait_until(self.answers, RECOVERY_SECONDS, "the model that spans hosts answers")

    def starts(self) -> dict[str, str]:
        """Names the unit's latest start on each host; empty for a host that reboots."""
        show = f"systemctl show --property=InvocationID --value {UNIT}"
        return {host: self.lab.ssh(host, show, check=False) for host in HOSTS}

    def await_restart(self, before: dict[str, str]) -> float:
        """Seconds until both ranks were started anew and the replica answers."""

        def again() -> bool:
            now = self.starts()
            return all(now[host] not in ("", before[host]) for host in HOSTS) and self.answers()

        seconds = wait_until(again, RECOVERY_SECONDS, "both ranks have started again and answer")
        print(f"the model that spans hosts answers again after {seconds:.0f} s")
        return seconds

    def state(self, host: str) -> str:
        return self.lab.ssh(host, f"systemctl is-active {UNIT} || true")

    def processes(self, host: str) -> dict[int, str]:
        """Processes in the rank's container, by their number on the host."""
        listing = self.lab.ssh(host, f"docker top {UNIT} -eo pid,args 2>/dev/null || true")
        return {int(line.split()[0]): line.split(maxsplit=1)[1] for line in listing.splitlines()[1:]}

    def kill(self, host: str, name: str) -> None:
        """SIGKILL to the one process of a rank that has this name."""
        (victim,) = [process for process, what in self.processes(host).items() if name in what]
        self.lab.ssh(host, f"kill -KILL {victim}")

    def said(self, host: str) -> list[str]:
        """What the group's program wrote there of late."""
        journal = f"journalctl -u {UNIT} -o cat --since=-{RECOVERY_SECONDS}s"
        return self.lab.ssh(host, f"{journal} | grep ^group: || true").splitlines()
