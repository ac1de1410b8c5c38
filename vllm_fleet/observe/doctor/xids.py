"""XIDs: what the driver wrote to the kernel log of faults."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from vllm_fleet.observe.gpu_faults import XIDS_FATAL, XIDS_OF_APPLICATIONS

from .finding import Case, Finding, Rule


def seen(case: Case) -> Iterator[Finding]:
    """Of each GPU since boot. XIDs that are in neither list say nothing of a GPU's health."""
    slots = {gpu.get("pci"): gpu["index"] for gpu in case.gpus}
    for each in (case.facts["xids"] or {}).get("seen", []):
        slot, number = each["pci"], each["xid"]
        path = f"gpu.{slots[slot]}.xid" if slot in slots else f"pci.{slot}.xid"
        times = "once" if each["count"] == 1 else f"{each['count']} times"
        last = "" if each["last"] is None else f", last {datetime.fromtimestamp(each['last'], UTC):%Y-%m-%d %H:%M} UTC"
        if number in XIDS_FATAL:
            meaning, mend = XIDS_FATAL[number]
            yield case.error(path, f"XID {number} ({meaning}) {times} since boot{last}", mend)
        elif number in XIDS_OF_APPLICATIONS:
            meaning, mend = XIDS_OF_APPLICATIONS[number]
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
