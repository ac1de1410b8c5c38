#!/usr/bin/python3
"""Switches faults of the lab's simulated GPUs on, until `nvidia-simulate clear`.

nvidia-simulate lost GPU           NVML answers GPU_IS_LOST
nvidia-simulate ecc GPU            an uncorrected memory error, and a row that waits to be remapped
nvidia-simulate throttle GPU       too hot: clocks are held down, for longer and longer
nvidia-simulate brake GPU          the machine's power brake holds clocks down, for longer and longer
nvidia-simulate remap GPU          a bad row of memory, and no spare one is left
nvidia-simulate orphan GPU         process 1 holds 8 GiB of its memory
nvidia-simulate pcie GPU           8 PCIe lanes of 16, at generation 3
nvidia-simulate nvlink GPU         its last two NVLinks are down
nvidia-simulate recovery GPU       the driver asks for a reset of the GPU
nvidia-simulate xid GPU NUMBER     a line of the kernel's log; it stays there until a reboot
nvidia-simulate clear              all of the above but XIDs
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
import time
from pathlib import Path

STATE = Path("/var/lib/nvidia-simulate/state")
VALUES = Path("/usr/share/nvidia-simulate/h200")
KMSG = Path("/dev/kmsg")
NUMBERS = Path("/run/nvidia-simulate/numbers")

# What a fault writes to STATE; keys and form are told in VALUES.
FAULTS: dict[str, dict[str, str]] = {
    "lost": {"lost": "1"},
    "ecc": {
        "ecc.1.0": "1",
        "ecc.1.1": "1",
        "ecc.1.0.2": "1",
        "ecc.1.1.2": "1",
        "remap_uncorrectable": "1",
        "remap_pending": "1",
    },
    "throttle": {
        "temperature.0": "91",
        "temperature_margin": "-4",
        "clock_reasons": "0x48",  # hardware slowdown, for heat
        "violation.1": "0+1000000000@{now}",
        "field.270": "0+1000000000@{now}",
    },
    "brake": {
        "clock_reasons": "0x88",  # hardware slowdown, by the power brake
        "field.271": "0+1000000000@{now}",
    },
    "remap": {"remap_failure": "1"},
    "orphan": {"process.0.pid": "1", "process.0.memory": str(8 << 30)},
    "pcie": {"pcie_width": "8", "pcie_generation": "3"},
    "nvlink": {"nvlink.16": "0", "nvlink.17": "0"},
    "recovery": {"field.230": "1"},
}


def lines(fault: str, gpu: int, now: int) -> list[str]:
    """The lines of a fault of one GPU."""
    return [f"gpu.{gpu}.{key}={value.format(now=now)}" for key, value in FAULTS[fault].items()]


def merged(state: list[str], new: list[str]) -> list[str]:
    """The state with new lines in the place of those of the same key."""
    keys = {line.partition("=")[0] for line in new}
    return [line for line in state if line.partition("=")[0] not in keys] + new


def slots() -> list[str]:
    """The GPUs' PCI slots as the kernel writes them, by index."""
    found = re.findall(r"^gpu\.\d+\.pci=0000([0-9A-F:]+)\.0$", VALUES.read_text(encoding="utf-8"), re.MULTILINE)
    return [slot.lower() for slot in found]


def xid_line(slot: str, number: int) -> str:
    """As the driver writes it (XID Errors, NVIDIA's catalogue)."""
    return f"NVRM: Xid (PCI:{slot}): {number}, pid='<unknown>', name=<unknown>, simulated"


def log(text: str) -> None:
    """One record in the kernel's log, which here is a FIFO that the journal reads (nvidia-kmsg.socket).

    The form is that of /dev/kmsg as it is read (Linux, Documentation/ABI/testing/dev-kmsg): level, number, time. The
    journal takes each number once. With O_DIRECT a pipe keeps records apart (pipe(2)).
    """
    if not KMSG.is_fifo():
        sys.exit("nvidia-simulate: the module is not loaded, so there is nothing that could write XIDs; reboot first")
    with NUMBERS.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("\n")
        number = file.tell() - 1
        pipe = os.open(KMSG, os.O_WRONLY | os.O_NONBLOCK)
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_DIRECT)
        os.write(pipe, f"3,{number},{time.monotonic_ns() // 1000},-;{text}\n".encode())
        os.close(pipe)


def switch_on(fault: str, gpu: int) -> None:
    """Written whole and then moved: the library may read at any time."""
    state = STATE.read_text(encoding="utf-8").splitlines() if STATE.exists() else []
    half = STATE.with_suffix(".half")
    STATE.parent.mkdir(parents=True, exist_ok=True)
    half.write_text("".join(f"{line}\n" for line in merged(state, lines(fault, gpu, int(time.time())))))
    half.replace(STATE)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["clear"]:
            STATE.unlink(missing_ok=True)
            return 0
        case [fault, gpu] if fault in FAULTS and gpu.isdecimal():
            number = None
        case ["xid", gpu, number] if gpu.isdecimal() and number.isdecimal():
            fault = "xid"
        case _:
            print(__doc__, end="", file=sys.stderr)
            return 2
    known = slots()
    if int(gpu) >= len(known):
        sys.exit(f"nvidia-simulate: GPU {gpu}: there is none; use 0 to {len(known) - 1}")
    if number is not None:
        log(xid_line(known[int(gpu)], int(number)))
    else:
        switch_on(fault, int(gpu))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PermissionError as error:
        sys.exit(f"nvidia-simulate: {error.filename}: permission denied; use sudo")
