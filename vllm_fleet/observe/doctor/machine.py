"""The machine under the engines: what could not be read, pending reboots, clock, disks."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import Case, Finding, Rule, some

DISK_ERROR, DISK_WARNING = 0.95, 0.85
"""Shares of a disk in use."""
GIB = 2**30


def unread(case: Case) -> Iterator[Finding]:
    """A source that hangs or fails. That of the GPUs is their own matter."""
    for fact, why in case.facts["unread"].items():
        if fact != "nvml" or not case.host.gpus:
            yield case.warning(f"facts.{fact}", f"could not be read: {why}", "look on the host, as root")


def reboot(case: Case) -> Iterator[Finding]:
    """/run/reboot-required, which packages write (Debian: unattended-upgrades; Ubuntu: update-notifier)."""
    pending = case.facts["reboot"]
    if pending and pending["required"]:
        names = pending["packages"]
        asks = f"{some(names)} ask for it" if names else "a package asks for it"
        yield case.warning("reboot", f"is pending: {asks}", "drain and reboot")


def clock(case: Case) -> Iterator[Finding]:
    """Journals, metrics and certificates of several hosts are compared by time."""
    found = case.facts["clock"]
    if found and found["synchronized"] is False:
        mend = "look at `chronyc sources`" if found["ntp"] else "deploy again, which starts chrony"
        yield case.warning("clock", "is not synchronised", mend)


def disks(case: Case) -> Iterator[Finding]:
    """As df counts: what root keeps for itself is not free. A file system is named once."""
    seen: set[int] = set()
    for path, disk in (case.facts["disks"] or {}).items():
        if not disk or disk["file_system"] in seen:
            continue
        seen.add(disk["file_system"])
        share = disk["used"] / max(disk["used"] + disk["free"], 1)
        if share >= DISK_WARNING:
            finding = case.error if share >= DISK_ERROR else case.warning
            yield finding(
                f"disk.{path}",
                f"is {share:.0%} full, {disk['free'] / GIB:.0f} GiB are free",
                "remove models and images that nothing runs, or give it a larger disk",
            )


RULES: tuple[Rule, ...] = (unread, reboot, clock, disks)
