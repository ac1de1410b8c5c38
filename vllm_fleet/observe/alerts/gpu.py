"""GPUs: are they all there and known of, do they ask for help, does anything hold them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import Alert
from vllm_fleet.observe.gpu_faults import RECOVERY_ACTIONS, XIDS_FATAL, XIDS_OF_APPLICATIONS

_GPU = "GPU {{ $labels.gpu }} of {{ $labels.host }}"
_ON_GPU = f"on ({metrics.HOST}, {metrics.GPU})"

GPU_TELEMETRY_LOST = Alert(
    name="GpuTelemetryLost",
    query=f"max by ({metrics.HOST}) ({metrics.UP})",
    comparison="==",
    threshold=1,
    held="3m",
    severity="page",
    subject=subjects.GPU,
    summary="{{ $labels.host }}: nothing new is known of its GPUs, so no other alert tells of them",
    action="Look whether nvidia-smi answers: a driver that hangs takes the engines with it",
    # the exporter answers while NVML blocks, with what it last knew
    provided=f'and on ({metrics.HOST}) {metrics.UP}{{job="{metrics.NVML}"}} '
    f"unless on ({metrics.HOST}) ({metrics.GPU_TELEMETRY_UP} == 1 and {metrics.GPU_TELEMETRY_AGE} < 60)",
)

GPU_LOST = Alert(
    name="GpuLost",
    query=metrics.GPU_UP,
    comparison="==",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU} is lost, or wants a reset before it works again",
    action="Drain the host and reboot it; have the GPU serviced if it comes back",
)

GPU_MISSING = Alert(
    name="GpuMissing",
    query=f"{metrics.GPUS_DECLARED} - {metrics.GPUS_VISIBLE}",
    comparison=">",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary="{{ $labels.host }}: fewer GPUs than declared, and the driver does not name those that are gone",
    action="Look for them on the PCI bus; power the host off and on, have it serviced if they stay away",
    # GpuLost names those, GpuTelemetryLost tells of a driver that names none
    provided=f"and {metrics.GPU_TELEMETRY_UP} == 1 unless on (job, instance) {metrics.GPU_UP} == 0",
)


def _since_last_xid(numbers: Iterable[int]) -> str:
    """Seconds. The exporter reads the log since boot anew when it starts: an old XID keeps its time, and increase()
    would miss the first of a series."""
    return f'time() - {metrics.GPU_XID_LAST}{{xid=~"{"|".join(map(str, sorted(numbers)))}"}}'


# longer than a restart of the exporter or of Prometheus; what lasts, alerts on the GPU's state go on to tell
_RECENT_SECONDS = 900

GPU_XID_FATAL = Alert(
    name="GpuXidFatal",
    query=_since_last_xid(XIDS_FATAL),
    comparison="<",
    threshold=_RECENT_SECONDS,
    held="0s",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: XID {{{{ $labels.xid }}}}, from which it does not recover by itself",
    action="Take the host out of service, then reset the GPU or reboot, by the number",
)

GPU_XID_APP = Alert(
    name="GpuXidApp",
    query=_since_last_xid(XIDS_OF_APPLICATIONS),
    comparison="<",
    threshold=_RECENT_SECONDS,
    held="0s",
    severity="ticket",
    subject=subjects.GPU,
    summary=f"{_GPU}: XID {{{{ $labels.xid }}}}, which ends one process",
    action="Read the engine's journal of that minute; the GPU goes on",
)


def _asked_for(actions: Mapping[int, str]) -> str:
    """Recovery actions, with what each is as the label `wants`."""
    known = [(f"== {number}", what) for number, what in actions.items()]
    cases = [*known, (f"> {max(actions)}", "what only a newer nvml.h names")]
    return " or ".join(
        f'label_replace({metrics.GPU_RECOVERY_ACTION} {which}, "wants", "{what}", "", "")' for which, what in cases
    )


GPU_RECOVERY_ACTION = Alert(
    name="GpuRecoveryAction",
    query=f"({_asked_for({number: what for number, (what, _) in RECOVERY_ACTIONS.items()})})",
    comparison=">",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: the driver asks for {{{{ $labels.wants }}}}",
    action="Drain the host, then do so; new work on the GPU may fail until then",
)

GPU_MEMORY_FAULT = Alert(
    name="GpuMemoryFault",
    # since the driver was loaded: until the reset that it takes
    query=f'{metrics.GPU_ECC_ERRORS}{{type="uncorrected", scope="volatile"}}',
    comparison=">",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: memory errors that ECC could not correct; each ended a process",
    action="Drain the host and reset the GPU; have it serviced if they come back",
)

GPU_ROW_REMAP_FAILED = Alert(
    name="GpuRowRemapFailed",
    query=metrics.GPU_ROW_REMAP_FAILURE,
    comparison=">",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: a bad row of memory, and no spare one is left",
    action="Take the host out of service and have the GPU replaced",
)

GPU_ROW_REMAP_PENDING = Alert(
    name="GpuRowRemapPending",
    query=metrics.GPU_ROW_REMAP_PENDING,
    comparison=">",
    threshold=0,
    held="1m",
    severity="ticket",
    subject=subjects.GPU,
    summary=f"{_GPU}: a bad row of memory is replaced at the next reset",
    action="Reset the GPU when the host is next drained",
)


def _held_down(reasons: str) -> str:
    """The share of time in which clocks were, for reasons (a regular expression) that may be so at once."""
    return f'max without (reason) (rate({metrics.GPU_THROTTLE_SECONDS}{{reason=~"{reasons}"}}[5m]))'


GPU_THERMAL_THROTTLE = Alert(
    name="GpuThermalThrottle",
    query=_held_down("software_thermal|hardware_thermal"),
    comparison=">",
    threshold=0.1,
    held="15m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: heat holds its clocks down, more than a tenth of the time",
    action="Look at fans, air flow and inlet temperature",
)

GPU_POWER_BRAKE = Alert(
    name="GpuPowerBrake",
    query=_held_down("power_brake"),
    comparison=">",
    threshold=0.05,
    held="5m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: the machine's power brake holds its clocks down",
    action="Look at the power supplies and their feeds: one of them is gone, or they are too small",
)

# of a GPU that has none in use (bridges of PCIe cards) no link is ever up
_DOWN = (
    f"count without (link) ({metrics.GPU_NVLINK_UP} == 0) and {_ON_GPU} max_over_time({metrics.GPU_NVLINK_UP}[1h]) == 1"
)
# The exporter reads a link's errors anew within 12 minutes. Those of checksums alone mean little, a sound link of an
# H200 had 37: what matters is sent again, or brings the link down (DCGM's health check fails at the first of these).
_ERRORS = f'sum without (link, type) (increase({metrics.GPU_NVLINK_ERRORS}{{type=~"replay|recovery"}}[30m]))'

GPU_NVLINK = Alert(
    name="GpuNvlink",
    query=f"({_DOWN} or {_ERRORS})",
    comparison=">",
    threshold=0,
    held="1m",
    severity="page",
    subject=subjects.GPU,
    summary=f"{_GPU}: NVLinks are down, or had to send again",
    action="Look which; drain the host and reset its GPUs, have it serviced if they come back",
)

GPU_PCIE_DEGRADED = Alert(
    name="GpuPcieDegraded",
    # not the generation: an idle GPU lowers it
    query=f"{metrics.GPU_PCIE_WIDTH} / {metrics.GPU_PCIE_WIDTH_MAX}",
    comparison="<",
    threshold=1,
    held="15m",
    severity="ticket",
    subject=subjects.GPU,
    summary=f"{_GPU}: fewer PCIe lanes in use than card and slot have",
    action="Reseat the card or its riser when the host is next serviced",
)

GPU_ORPHAN_MEMORY = Alert(
    name="GpuOrphanMemory",
    # an engine's container counts as the engine's unit (docs/metrics.md)
    query=f'{metrics.GPU_PROCESS_MEMORY}{{{metrics.UNIT}!~"vllm-.+"}}',
    comparison=">",
    threshold=0,
    held="15m",
    severity="ticket",
    subject=subjects.GPU,
    summary=f"{_GPU}: memory is held by processes of no engine (unit: {{{{ $labels.unit }}}})",
    action="Find the processes, and end what nobody needs: an engine that starts there may lack the memory",
)

ALERTS = (
    GPU_TELEMETRY_LOST,
    GPU_LOST,
    GPU_MISSING,
    GPU_XID_FATAL,
    GPU_XID_APP,
    GPU_RECOVERY_ACTION,
    GPU_MEMORY_FAULT,
    GPU_ROW_REMAP_FAILED,
    GPU_ROW_REMAP_PENDING,
    GPU_THERMAL_THROTTLE,
    GPU_POWER_BRAKE,
    GPU_NVLINK,
    GPU_PCIE_DEGRADED,
    GPU_ORPHAN_MEMORY,
)
