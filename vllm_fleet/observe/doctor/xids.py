"""XIDs: what the driver wrote to the kernel log of faults, by NVIDIA's catalogue ("XID Errors", R580)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from .finding import Case, Finding, Rule

_RESET = "drain the host and run `nvidia-smi --gpu-reset`; have the GPU serviced if it comes back"
_REBOOT = "drain and reboot; have the GPU serviced if it comes back"
_ENGINE = "read the engine's journal of that time"

FATAL = {
    48: ("an uncorrectable memory error", _RESET),
    62: ("an internal halt", _REBOOT),
    64: ("a row that could not be remapped", _RESET),
    74: ("an NVLink error", _RESET),
    79: ("fallen off the bus", _REBOOT),
    95: ("an uncontained memory error", _RESET),
    119: ("no answer from the GPU's system processor", _REBOOT),
    120: ("an error of the GPU's system processor", _REBOOT),
}
"""What the GPU does not recover from by itself: its meaning and what to do."""

APPLICATION = {
    13: ("an exception in a kernel", _ENGINE),
    31: ("an access outside of memory", _ENGINE),
    43: ("work that was stopped", _ENGINE),
    63: ("a row to be remapped", "reset the GPU when the host is next drained"),
    94: ("a contained memory error", "restart the engine if it has not restarted itself"),
}
"""What ends one process, or nothing yet."""


def seen(case: Case) -> Iterator[Finding]:
    """Of each GPU since boot. XIDs that are in neither list say nothing of a GPU's health."""
    slots = {gpu.get("pci"): gpu["index"] for gpu in case.gpus}
    for each in (case.facts["xids"] or {}).get("seen", []):
        slot, number = each["pci"], each["xid"]
        path = f"gpu.{slots[slot]}.xid" if slot in slots else f"pci.{slot}.xid"
        times = "once" if each["count"] == 1 else f"{each['count']} times"
        last = "" if each["last"] is None else f", last {datetime.fromtimestamp(each['last'], UTC):%Y-%m-%d %H:%M} UTC"
        if number in FATAL:
            meaning, mend = FATAL[number]
            yield case.error(path, f"XID {number} ({meaning}) {times} since boot{last}", mend)
        elif number in APPLICATION:
            meaning, mend = APPLICATION[number]
            yield case.warning(path, f"XID {number} ({meaning}) {times} since boot{last}", mend)


def flood(case: Case) -> Iterator[Finding]:
    """A fault may write hundreds of thousands of lines: older ones, perhaps fatal, are not in the facts then."""
    if case.facts["xids"] and not case.facts["xids"]["complete"]:
        yield case.warning(
            "xids",
            "the kernel log is too long to be read whole",
            "look for older ones with `journalctl -k -b --grep 'NVRM: Xid'`",
        )


RULES: tuple[Rule, ...] = (seen, flood)
