"""Cases of GPUs."""

from __future__ import annotations

from tests.rules.cases.case import Case, counter, labels_of, series, up

NODE, NVML = up("node", "gpu1"), up("nvml", "gpu1")
_HOST = labels_of("nvml", "gpu1")


def of_gpu(number: int = 3, **labels: str) -> dict[str, str]:
    """Labels of a series of one of gpu1's GPUs."""
    return _HOST | {"gpu": str(number), "uuid": f"GPU-{number}"} | labels


def gpu(name: str, number: int = 3, **labels: str) -> str:
    """A series of one of gpu1's GPUs."""
    return series(name, of_gpu(number, **labels))


_AGE, _ANSWERS = series("nvml_snapshot_age_seconds", _HOST), series("nvml_up", _HOST)
_DECLARED, _VISIBLE = series("nvml_gpus_declared", _HOST), series("nvml_gpus_visible", _HOST)
_WELL = {NODE: "1x20", NVML: "1x20", _ANSWERS: "1x20", _AGE: "2x20"}

# in seconds since the first sample, which promtool takes for the epoch
_FATAL, _APP, _HARMLESS = (gpu("nvml_xid_last_timestamp_seconds", xid=number) for number in ("79", "31", "45"))
_NO_GPU = _HOST | {"gpu": "", "uuid": "", "xid": "79"}
_ACTION = gpu("nvml_recovery_action")
_PENDING, _FAILURE = gpu("nvml_row_remap_pending"), gpu("nvml_row_remap_failure")


def _ecc(kind: str, scope: str) -> str:
    return gpu("nvml_ecc_errors_total", type=kind, scope=scope)


def _throttled(reason: str, *spans: tuple[int, float]) -> dict[str, str]:
    """By (minutes, share of time)."""
    return {
        gpu("nvml_throttle_seconds_total", reason=reason): counter(*((length, 60 * share) for length, share in spans))
    }


def _links(*values: str) -> dict[str, str]:
    return {gpu("nvml_nvlink_up", link=str(link)): value for link, value in enumerate(values)}


def _link_errors(kind: str, values: str) -> dict[str, str]:
    return {gpu("nvml_nvlink_errors_total", link="7", type=kind): values}


def _lanes(width: str, widest: str = "16x40") -> dict[str, str]:
    return {gpu("nvml_pcie_link_width"): width, gpu("nvml_pcie_link_width_max"): widest}


def _held_by(unit: str) -> str:
    return gpu("nvml_process_memory_bytes", unit=unit)


_SCOPE = "docker-0123456789ab.scope"

CASES = [
    Case("GpuTelemetryLost", "the exporter is gone", _WELL | {NVML: "1x2 0x9", _ANSWERS: "1x2 stale _x8",
         _AGE: "2x2 stale _x8"}, 6, [{"host": "gpu1"}]),
    Case("GpuTelemetryLost", "NVML blocks", _WELL | {_AGE: "2x2 62+60x9"}, 6, [{"host": "gpu1"}]),
    Case("GpuTelemetryLost", "NVML answers nothing", _WELL | {_ANSWERS: "1x2 0x9"}, 6, [{"host": "gpu1"}]),
    Case("GpuTelemetryLost", "NVML has blocked since the exporter started", {NODE: "1x9", NVML: "1x9", _AGE: "0+60x9"},
         3, [{"host": "gpu1"}]),
    Case("GpuTelemetryLost", "a host without GPUs", {up("node", "edge1"): "1x20"}, 20),
    Case("GpuTelemetryLost", "its host is down", {NODE: "0x9", NVML: "0x9"}, 9),
    Case("GpuTelemetryLost", "rounds of almost a minute", _WELL | {_AGE: "59x20"}, 20),
    Case("GpuTelemetryLost", "the exporter is started again", _WELL | {NVML: "1x2 0x2 1x9", _ANSWERS: "1x2 _x2 1x9"},
         9),
    Case("GpuLost", "one falls off the bus", {gpu("nvml_gpu_up"): "1x2 0x9", gpu("nvml_gpu_up", 4): "1x11"}, 4,
         [of_gpu()]),
    Case("GpuLost", "it answers again at once", {gpu("nvml_gpu_up"): "1x2 0 1x9"}, 5),
    Case("GpuMissing", "one is gone since the last boot", {_DECLARED: "8x9", _VISIBLE: "7x9", _ANSWERS: "1x9",
         gpu("nvml_gpu_up"): "1x9"}, 1, [_HOST]),
    Case("GpuMissing", "none is there", {_DECLARED: "8x9", _VISIBLE: "0x9", _ANSWERS: "1x9"}, 1, [_HOST]),
    Case("GpuMissing", "the one is named by GpuLost", {_DECLARED: "8x9", _VISIBLE: "7x9", _ANSWERS: "1x9",
         gpu("nvml_gpu_up"): "0x9"}, 9),
    Case("GpuMissing", "NVML answers nothing", {_DECLARED: "8x9", _VISIBLE: "0x9", _ANSWERS: "0x9"}, 9),
    Case("GpuMissing", "more than declared", {_DECLARED: "4x9", _VISIBLE: "8x9", _ANSWERS: "1x9"}, 9),
    Case("GpuXidFatal", "the first of its series", {_FATAL: "_x10 600x30"}, 10, [of_gpu(xid="79")]),
    Case("GpuXidFatal", "another hours after one", {_FATAL: "0x180 10860x10"}, 181, [of_gpu(xid="79")]),
    Case("GpuXidFatal", "its slot never had a GPU since the exporter started",
         {series("nvml_xid_last_timestamp_seconds", _NO_GPU): "_x10 600x30"}, 10, [_NO_GPU]),
    Case("GpuXidFatal", "one of ten minutes ago, read by an exporter that starts", {_FATAL: "_x20 600x30"}, 20,
         [of_gpu(xid="79")]),
    Case("GpuXidFatal", "an old one, read again by an exporter that starts", {_FATAL: "_x60 600x30"}, 80),
    Case("GpuXidFatal", "its quarter of an hour is over", {_FATAL: "_x10 600x30"}, 25),
    Case("GpuXidFatal", "one of an application, and one of no meaning", {_APP: "_x10 600x30", _HARMLESS: "_x10 600x30"},
         12),
    Case("GpuXidApp", "the first of its series", {_APP: "_x10 600x30"}, 10, [of_gpu(xid="31")]),
    Case("GpuXidApp", "one of ten minutes ago, read by an exporter that starts", {_APP: "_x20 600x30"}, 20,
         [of_gpu(xid="31")]),
    Case("GpuXidApp", "its quarter of an hour is over", {_APP: "_x10 600x30"}, 25),
    Case("GpuXidApp", "an old one, read again by an exporter that starts", {_APP: "_x60 600x30"}, 80),
    Case("GpuXidApp", "a fatal one", {_FATAL: "_x10 600x30"}, 12),
    Case("GpuRecoveryAction", "a reset", {_ACTION: "0x2 1x9"}, 4, [of_gpu(wants="a reset")]),
    Case("GpuRecoveryAction", "a reboot", {_ACTION: "2x9"}, 1, [of_gpu(wants="a reboot")]),
    Case("GpuRecoveryAction", "what no table has yet", {_ACTION: "9x9"}, 1,
         [of_gpu(wants="what only a newer nvml.h names")]),
    Case("GpuRecoveryAction", "nothing", {_ACTION: "0x9"}, 9),
    Case("GpuRecoveryAction", "taken back at once", {_ACTION: "0x2 1 0x9"}, 5),
    Case("GpuMemoryFault", "the first since the driver was loaded",
         {_ecc("uncorrected", "volatile"): "0x2 1x9"}, 4,
         [of_gpu(type="uncorrected", scope="volatile")]),
    Case("GpuMemoryFault", "corrected ones, and uncorrected ones of years",
         {_ecc("corrected", "volatile"): "900x9", _ecc("uncorrected", "volatile"): "0x9",
          _ecc("uncorrected", "aggregate"): "7x9"}, 9),
    Case("GpuRowRemapFailed", "no spare row", {_FAILURE: "0x2 1x9"}, 4, [of_gpu()]),
    Case("GpuRowRemapFailed", "a row waits", {_FAILURE: "0x9", _PENDING: "1x9"}, 9),
    Case("GpuRowRemapPending", "a row waits", {_PENDING: "0x2 1x9"}, 4, [of_gpu()]),
    Case("GpuRowRemapPending", "all are replaced",
         {_PENDING: "0x9", gpu("nvml_remapped_rows", cause="correctable"): "2x9"}, 9),
    Case("GpuThermalThrottle", "a fifth of the time", _throttled("software_thermal", (5, 0), (40, 0.2)), 23,
         [of_gpu()]),
    Case("GpuThermalThrottle", "the same by hardware and software", _throttled("hardware_thermal", (40, 0.2))
         | _throttled("software_thermal", (40, 0.2)), 18, [of_gpu()]),
    Case("GpuThermalThrottle", "a twelfth of it for each of two reasons", _throttled("hardware_thermal", (40, 1 / 12))
         | _throttled("software_thermal", (40, 1 / 12)), 40),
    Case("GpuThermalThrottle", "ten hot minutes", _throttled("hardware_thermal", (5, 0), (10, 1), (25, 0)), 21),
    Case("GpuThermalThrottle", "its power limit", _throttled("power_cap", (40, 1)), 40),
    Case("GpuPowerBrake", "half of the time", _throttled("power_brake", (5, 0), (30, 0.5)), 11, [of_gpu()]),
    Case("GpuPowerBrake", "a thirtieth of the time", _throttled("power_brake", (40, 1 / 30)), 40),
    Case("GpuPowerBrake", "a second", _throttled("power_brake", (5, 0), (1, 1 / 60), (30, 0)), 12),
    Case("GpuPowerBrake", "its power limit", _throttled("power_cap", (40, 1)), 40),
    Case("GpuNvlink", "one of its links goes down", _links("1x20", "1x5 0x15"), 7, [of_gpu()]),
    Case("GpuNvlink", "one has never been up", _links("1x20", "0x20"), 1, [of_gpu()]),
    Case("GpuNvlink", "all of its links go down", _links("1x5 0x15", "1x5 0x15"), 7, [of_gpu()]),
    Case("GpuNvlink", "a link sends again", _links("1x40") | _link_errors("replay", "3x9 4x30"), 11, [of_gpu()]),
    Case("GpuNvlink", "a link was brought up again", _link_errors("recovery", "0x9 1x30"), 11, [of_gpu()]),
    Case("GpuNvlink", "a card without bridges", _links("0x20", "0x20"), 20),
    Case("GpuNvlink", "checksums alone", _link_errors("crc_flit", "0+9x30"), 30),
    Case("GpuNvlink", "errors of long ago", _links("1x60") | _link_errors("replay", "3x5 4x60"), 40),
    Case("GpuPcieDegraded", "half of its lanes", _lanes("16x4 8x36"), 20, [of_gpu()]),
    Case("GpuPcieDegraded", "a slot of eight lanes", _lanes("8x40", "8x40"), 40),
    Case("GpuPcieDegraded", "a lower generation, as when idle", _lanes("16x40") | {
         gpu("nvml_pcie_link_generation"): "1x40", gpu("nvml_pcie_link_generation_max"): "5x40"}, 40),
    Case("GpuPcieDegraded", "for ten minutes", _lanes("16x4 8x10 16x20"), 20),
    Case("GpuOrphanMemory", "a container of somebody", {_held_by(_SCOPE): "_x4 5e9x30",
         _held_by("vllm-chat.service"): "120e9x34"}, 19, [of_gpu(unit=_SCOPE)]),
    Case("GpuOrphanMemory", "somebody's session", {_held_by("session-3.scope"): "5e8x34"}, 15,
         [of_gpu(unit="session-3.scope")]),
    Case("GpuOrphanMemory", "a process in no unit", {_held_by(""): "5e8x34"}, 15, [of_gpu(unit="")]),
    Case("GpuOrphanMemory", "engines alone", {_held_by("vllm-chat-0.service"): "60e9x34",
         _held_by("vllm-coder.service"): "60e9x34"}, 34),
    Case("GpuOrphanMemory", "ten minutes of a person's test", {_held_by("session-3.scope"): "_x4 5e9x10 stale _x20"},
         30),
]  # fmt: skip
