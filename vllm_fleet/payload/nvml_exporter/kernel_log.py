"""XIDs, from the kernel's log: the journal is followed, and each line counts once.

The journal has them since boot, so what was written before the start counts too; `increase()` would miss the first
XID of a series, so its time is kept. NVML's events say no more, and nothing of what was before.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time

from .pci import pci_slot

PAUSE_SECONDS = 5
# `NVRM: Xid (PCI:0000:3b:00): 79, pid=...`; old drivers leave PCI: out, and a MIG device follows as `GPU-I:02`
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)(?:\.\d)?[^)]*\): (\d+)")


class KernelLog:
    """How often each XID was written and when last, in seconds since the epoch, by PCI slot and number."""

    def __init__(self) -> None:
        self.followed = False
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}
        self._cursor: str | None = None

    def seen(self) -> dict[tuple[str, int], tuple[int, float]]:
        return dict(self._seen)

    def start(self) -> None:
        """Follow the journal from now on; where there is none, try again."""
        threading.Thread(target=self._run, name="kernel log", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.follow()
            self.followed = False
            time.sleep(PAUSE_SECONDS)  # before journalctl is started again

    def follow(self) -> None:
        """Until the journal ends, as it does when journald is started anew."""
        after = [f"--after-cursor={self._cursor}"] if self._cursor else []
        argv = ["journalctl", "--dmesg", "--follow", "--no-tail", "--output=json", "--output-fields=MESSAGE", *after]
        try:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except OSError:
            return
        self.followed = True
        assert child.stdout
        with child, child.stdout as lines:
            for line in lines:
                self.take(line)

    def take(self, line: bytes) -> None:
        """One entry of the journal (systemd, Journal JSON Format); `--output-fields` leaves cursor and time in."""
        if b"NVRM: Xid" not in line:
            return
        try:
            entry = json.loads(line)
            when = int(entry["__REALTIME_TIMESTAMP"]) / 10**6
            found = _XID.search(entry["MESSAGE"])
            self._cursor = entry["__CURSOR"]
        except (ValueError, KeyError, TypeError):  # cut off, or a message that is no text
            return
        if found:
            key = pci_slot(found[1]), int(found[2])
            self._seen[key] = self._seen.get(key, (0, when))[0] + 1, when
