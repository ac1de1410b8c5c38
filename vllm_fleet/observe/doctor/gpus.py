"""The GPUs: all there, of the declared kind, and in health."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.observe.gpu_faults import RECOVERY_ACTIONS
from vllm_fleet.schema import ConfigError
from vllm_fleet.schema.gpu import Gpu
from vllm_fleet.schema.gpu import gpu as known_gpu

from . import xids
from .finding import Case, Finding, Rule, same_version, some

# NVML's clock event reasons (NVML API reference, NvmlClocksEventReasons)
IDLE, SOFTWARE_THERMAL, HARDWARE_THERMAL, POWER_BRAKE = 0x1, 0x20, 0x40, 0x80


def answering(case: Case) -> Iterator[Finding]:
    """NVML must start; a library apart from its module is told of by its versions."""
    found, mismatch = case.facts["nvml"], "LIB_RM_VERSION_MISMATCH"
    if case.unread("nvml"):  # a driver that hangs: engines will, too
        why = case.facts["unread"]["nvml"]
        yield case.error("gpus", f"NVML: {why}", "read `journalctl -k -b | grep NVRM`, then drain and reboot")
        return
    if case.module is None:
        return
    if found is None:
        yield case.error(
            "gpus",
            "libnvidia-ml is not installed, so they cannot be looked at",
            f"install the driver's libraries, {case.module}",
        )
    elif found["error"] and not (found["error"] == mismatch and _apart(found["library"], case.module)):
        yield case.error(
            "gpus", f"NVML answers {found['error']}", "read `journalctl -k -b | grep NVRM`, then drain and reboot"
        )


def _apart(library: str | None, module: str) -> bool:
    return library is not None and not same_version(library, module)


def all_visible(case: Case) -> Iterator[Finding]:
    """One that fell off the bus may be gone without any XID."""
    found = (case.facts["nvml"] or {}).get("gpus")
    if found is not None and len(found) < case.host.gpus:
        yield case.error(
            "gpus",
            f"{len(found)} of {case.host.gpus} declared are there",
            "read `journalctl -k -b | grep NVRM`, drain and reboot; if it stays away, have it serviced",
        )


def reachable(case: Case) -> Iterator[Finding]:
    """A GPU that NVML gives no handle for, or that is lost or wants a reset, serves no more; other errors
    (NVML API reference, nvmlReturn_t) may be about one value only."""
    for gpu in case.gpus:
        if gpu["error"]:
            gone = "name" not in gpu or gpu["error"] in ("GPU_IS_LOST", "RESET_REQUIRED")
            mend = "drain and reboot; if it stays, have it serviced"
            yield (case.error if gone else case.warning)(f"gpu.{gpu['index']}", f"NVML answers {gpu['error']}", mend)


def of_declared_kind(case: Case) -> Iterator[Finding]:
    """The plan (memory, number types, links) is made for the declared one."""
    declared = case.host.card
    others: dict[str, list[str]] = {}
    for gpu in case.gpus:
        if declared and gpu.get("name") and _kind(gpu["name"]) != declared:
            others.setdefault(gpu["name"], []).append(str(gpu["index"]))
    for name, indexes in others.items():
        assert declared
        yield case.error(
            "gpus",
            f"{name} at {some(indexes, 8)}, declared is {declared.name}",
            f"set gpu of {case.host.name} in the inventory to what is there, then plan and deploy",
        )


def _kind(name: str) -> Gpu | None:
    try:
        return known_gpu(name)
    except ConfigError:
        return None


def ecc(case: Case) -> Iterator[Finding]:
    """NVML's volatile counter: uncorrected errors since the driver was loaded, each of which ended a process. The
    aggregate one never falls, so it says nothing of today."""
    for gpu in case.gpus:
        count = (gpu.get("ecc") or {}).get("uncorrected")
        if count:
            yield case.error(
                f"gpu.{gpu['index']}.ecc",
                f"{count} uncorrected memory errors",
                "drain the host and run `nvidia-smi --gpu-reset`; have it serviced if they come back",
            )


def row_remap(case: Case) -> Iterator[Finding]:
    """A pending remap waits for a reset and harms nothing until then; a failed one means that no spare row is left
    (NVIDIA GPU memory error management, "Row-remapping")."""
    for gpu in case.gpus:
        remap, path = gpu.get("remap") or {}, f"gpu.{gpu['index']}.remap"
        if remap.get("failure"):
            yield case.error(path, "a row could not be remapped", "take it out of service and have it replaced")
        elif remap.get("pending"):
            yield case.warning(
                path, "a row waits to be remapped", "run `nvidia-smi --gpu-reset` when the host is next drained"
            )


def recovery(case: Case) -> Iterator[Finding]:
    """What the driver itself asks for, after faults that it knows."""
    for gpu in case.gpus:
        action = gpu.get("recovery_action")
        if action:
            what, mend = RECOVERY_ACTIONS.get(action, (f"recovery action {action}", "drain and reboot"))
            yield case.error(f"gpu.{gpu['index']}.recovery", f"the driver asks for {what}", mend)


def pcie(case: Case) -> Iterator[Finding]:
    """Narrower or slower than card and slot both can. The generation falls when a GPU idles, the width does not; both
    are compared with what is possible "with this device and system" (NVML, nvmlDeviceGetMaxPcieLinkWidth)."""
    for gpu in case.gpus:
        link, path = gpu.get("pcie") or {}, f"gpu.{gpu['index']}.pcie"
        width, widest = link.get("width"), link.get("width_max")
        if width and widest and width < widest:
            yield case.warning(
                path, f"runs {width} lanes wide of {widest}", "reseat the card or its riser at next service"
            )
        generation, newest = link.get("generation"), link.get("generation_max")
        working = gpu.get("performance_state") == 0 and not (gpu.get("clock_reasons") or 0) & IDLE
        if working and generation and newest and generation < newest:
            yield case.warning(
                path,
                f"runs at generation {generation} of {newest}, and is not idle",
                "look for PCIe errors with `journalctl -k -b | grep AER`, and at the slot's setting in the firmware",
            )


def nvlinks(case: Case) -> Iterator[Finding]:
    """On cards that are joined by design; bridges of others may be left out, and a single one has no peer."""
    card = case.host.card
    if card is None or card.nvlink_bandwidth is None or case.host.gpus < 2:
        return
    for gpu in case.gpus:
        links = gpu.get("nvlinks") or []
        down = [str(number) for number, up in enumerate(links) if not up]
        if down:
            yield case.error(
                f"gpu.{gpu['index']}.nvlink",
                f"{len(down)} of {len(links)} links are down ({some(down, 4)})",
                "look at `nvidia-smi nvlink --status` and the fabric manager's journal, then drain and reset the GPU",
            )


def throttling(case: Case) -> Iterator[Finding]:
    """Clocks that heat or the power supply hold down now; a power cap is how a busy GPU runs."""
    for gpu in case.gpus:
        reasons, path = gpu.get("clock_reasons") or 0, f"gpu.{gpu['index']}.clocks"
        if reasons & (HARDWARE_THERMAL | SOFTWARE_THERMAL):
            at = gpu.get("temperature_celsius")
            degrees = f" at {at} °C" if at is not None else ""
            yield case.warning(path, f"are held down by heat{degrees}", "look at fans, air flow and inlet temperature")
        if reasons & POWER_BRAKE:
            yield case.warning(path, "are held down by the power brake", "look at the power supplies and their feeds")


HARDWARE: tuple[Rule, ...] = (
    answering,
    all_visible,
    reachable,
    of_declared_kind,
    ecc,
    row_remap,
    recovery,
    pcie,
    nvlinks,
)
"""What a GPU is or lacks, whatever runs on it."""
RULES: tuple[Rule, ...] = (*HARDWARE, *xids.RULES, throttling)
