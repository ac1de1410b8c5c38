"""GPU and host: is a machine at fault, and which."""

from __future__ import annotations

from grafana.queries import alert, hosts, rate, total, worst
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.gpu_faults import RECOVERY_ACTIONS
from vllm_fleet.observe.panel import (
    Dashboard,
    Panel,
    Query,
    Row,
    Unit,
    above,
    below,
    levels_of,
    lines,
    panel_of,
    query_of,
    table,
)

_GPU = ("host", "gpu")
_NAME = "{{host}} {{gpu}}"
_XID = "{{host}} {{gpu}}: {{xid}}"
_NO_XID = "None since boot"
_DEVICE = ("host", "device")
_REAL = 'device!~"lo|docker.*|veth.*"'
_IDLE = rate(hosts(metrics.CPU_SECONDS, 'mode="idle"'))
_SEEN = total(hosts(metrics.GPU_PROCESS_MEMORY), "host")
_HELD = total(hosts(metrics.GPU_MEMORY_USED), "host")
_EXPORTER = worst(hosts(metrics.UP, f'job="{metrics.NVML}"'), "host")
_ANSWERS = {0: "silent", 1: "answers"}
_FIRING = hosts(metrics.ALERTS, 'alertstate="firing"', 'gpu!=""')
_MISSING = alert("GpuMissing")


def _of_gpu(metric: str, *matchers: str) -> str:
    return worst(hosts(metric, *matchers), *_GPU)


def _busy(unit: str, *by: str) -> str:
    active = hosts(metrics.GPU_ACTIVITY, f'unit="{unit}"')
    return f"avg by ({', '.join(by)}) ({active})"


def _activity(title: str, unit: str) -> Panel:
    return lines(f"{title}, mean of a host's", Query(_busy(unit, "host"), "{{host}}"), unit="percentunit", full=1)


def _fault(name: str, title: str, unit: Unit = "short", names: dict[int, str] | None = None) -> Query:
    """What an alert watches as a column: the worst of each GPU."""
    each = alert(name)
    over = "max" if each.comparison == ">" else "min"
    return Query(f"{over} by (host, gpu) ({query_of(each).expression})", title, unit, levels_of(each), names)


_USED = f"{_of_gpu(metrics.GPU_MEMORY_USED)} / {_of_gpu(metrics.GPU_MEMORY_TOTAL)}"
_POWER = f"{_of_gpu(metrics.GPU_POWER)} / {_of_gpu(metrics.GPU_POWER_LIMIT)}"

_FAULTS = Row(
    "Faults",
    (
        table(
            "A row a GPU",
            Query(f"count by (host, gpu) ({_FIRING})", "Alerts", levels=above(ticket=1)),
            _fault("GpuLost", "Up", names={0: "lost", 1: "up"}),
            _fault("GpuRecoveryAction", "Asks for", names={key: what for key, (what, _) in RECOVERY_ACTIONS.items()}),
            _fault("GpuXidFatal", "Fatal XID", "s"),
            _fault("GpuXidApp", "App's XID", "s"),
            _fault("GpuMemoryFault", "ECC errors"),
            _fault("GpuRowRemapPending", "Rows wait"),
            _fault("GpuRowRemapFailed", "Rows failed"),
            _fault("GpuPcieDegraded", "PCIe lanes", "percentunit"),
            _fault("GpuNvlink", "NVLinks bad"),
            _fault("GpuThermalThrottle", "Heat", "percentunit"),
            _fault("GpuPowerBrake", "Brake", "percentunit"),
            _fault("GpuOrphanMemory", "No engine's", "bytes"),
            width=24,
            height=12,
            first="Alerts",
            description="XIDs: how long ago. ECC errors: uncorrected. Rows: of memory, that wait for a reset to be "
            "replaced, or could not be. Heat, brake: the share of time in which they hold clocks down. "
            "No engine's: memory that others hold. Over time: the row before the last.",
        ),
        table(
            "A row a host",
            Query(_EXPORTER, "Exporter", levels=below(1), names=_ANSWERS),
            Query(worst(hosts(metrics.GPU_TELEMETRY_UP), "host"), "Driver", levels=below(1), names=_ANSWERS),
            Query(worst(hosts(metrics.GPU_TELEMETRY_AGE), "host"), "Last told", "s", above(page=60)),
            Query(worst(hosts(metrics.GPUS_DECLARED), "host"), "Declared"),
            Query(worst(query_of(_MISSING).expression, "host"), "Missing", levels=levels_of(_MISSING)),
            width=12,
            height=6,
        ),
        table(
            "XIDs since boot",
            Query(worst(hosts(metrics.GPU_XIDS), *_GPU, "xid"), "Times"),
            # Grafana's dates are milliseconds
            Query(f"1000 * {worst(hosts(metrics.GPU_XID_LAST), *_GPU, 'xid')}", "Last", "dateTimeFromNow"),
            width=12,
            height=6,
            nothing=_NO_XID,
        ),
    ),
)

_WORK = Row(
    "GPUs at work",
    (
        _activity("SM active", "sm"),
        _activity("Tensor cores active", "tensor"),
        _activity("Memory bandwidth in use", "dram"),
        lines(
            "Memory by unit",
            Query(total(hosts(metrics.GPU_PROCESS_MEMORY), "host", "unit"), "{{host}} {{unit}}"),
            Query(f"clamp_min({_HELD} - ({_SEEN} or 0 * {_HELD}), 0)", "{{host}} held by none we see"),
            unit="bytes",
            stacked=True,
        ),
        lines("Memory used, of a host's fullest", Query(worst(_USED, "host"), "{{host}}"), unit="percentunit", full=1),
        lines(
            "Temperature, of a host's hottest",
            Query(worst(hosts(metrics.GPU_TEMPERATURE), "host", "sensor"), "{{host}} {{sensor}}"),
            unit="celsius",
        ),
        lines(
            "Power, of what it may draw: a host's highest",
            Query(worst(_POWER, "host"), "{{host}}"),
            unit="percentunit",
            full=1,
        ),
        lines(
            "Clocks held down, by reason",
            Query(f"{worst(rate(hosts(metrics.GPU_THROTTLE_SECONDS)), 'host', 'reason')} > 0", "{{host}} {{reason}}"),
            unit="percentunit",
            description="Of a host's GPUs, the one that is most. `power_cap` is ordinary under full load.",
            nothing="Never",
        ),
        lines(
            "NVLink traffic",
            Query(total(rate(hosts(metrics.GPU_NVLINK_SENT)), "host"), "{{host}} sent"),
            Query(total(rate(hosts(metrics.GPU_NVLINK_RECEIVED)), "host"), "{{host}} received"),
            unit="Bps",
            nothing="No NVLink",
        ),
        table(
            "A row a GPU, now",
            Query(_busy("sm", *_GPU), "SM", "percentunit"),
            Query(_busy("tensor", *_GPU), "Tensor", "percentunit"),
            Query(_busy("dram", *_GPU), "Bandwidth", "percentunit"),
            Query(_USED, "Memory", "percentunit"),
            Query(_of_gpu(metrics.GPU_TEMPERATURE, 'sensor="gpu"'), "GPU temp", "celsius"),
            Query(_of_gpu(metrics.GPU_TEMPERATURE, 'sensor="memory"'), "Mem temp", "celsius"),
            Query(_of_gpu(metrics.GPU_POWER), "Power", "watt"),
            width=12,
            height=10,
        ),
        table(
            "Inventory",
            Query(f"max by (host, gpu, name, driver, serial, pci) ({hosts(metrics.GPU_INFO)})"),
            width=12,
            height=10,
        ),
    ),
)

_HOSTS = Row(
    "Hosts",
    (
        panel_of(alert("HostDown"), title="Anything answers"),
        lines("CPU busy", Query(f"1 - avg by (host) ({_IDLE})", "{{host}}"), unit="percentunit", full=1),
        lines(
            "RAM in use",
            Query(f"1 - {hosts(metrics.RAM_AVAILABLE)} / {hosts(metrics.RAM_TOTAL)}", "{{host}}"),
            unit="percentunit",
            full=1,
        ),
        panel_of(
            alert("ModelDiskFilling"),
            title="Disk free where models are",
            legend="{{host}} {{mountpoint}}",
            unit="percentunit",
        ),
        lines(
            "Disk",
            Query(total(rate(hosts(metrics.DISK_READ)), "host"), "{{host}} read"),
            Query(total(rate(hosts(metrics.DISK_WRITTEN)), "host"), "{{host}} written"),
            unit="Bps",
        ),
        lines(
            "Network",
            Query(total(rate(hosts(metrics.NETWORK_RECEIVED, _REAL)), *_DEVICE), "{{host}} {{device}} received"),
            Query(total(rate(hosts(metrics.NETWORK_SENT, _REAL)), *_DEVICE), "{{host}} {{device}} sent"),
            unit="Bps",
        ),
        panel_of(alert("OomKill"), title="Killed for want of memory in 10 minutes", width=12),
        panel_of(alert("ClockSkew"), title="Clock, from the monitoring host's", unit="s", width=12),
    ),
)

_SINCE_WHEN = Row(
    "Faults over time",
    (
        panel_of(alert("GpuTelemetryLost"), title="Hosts up, which then must tell of their GPUs"),
        panel_of(alert("GpuMissing"), title="GPUs missing"),
        panel_of(alert("GpuLost"), title="GPUs up", legend=_NAME),
        panel_of(
            alert("GpuRecoveryAction"),
            title="GPUs that need a reset or the like",
            legend=f"{_NAME} {{{{wants}}}}",
            nothing="None",
        ),
        panel_of(alert("GpuXidFatal"), title="Since the last fatal XID", legend=_XID, unit="s", nothing=_NO_XID),
        panel_of(alert("GpuXidApp"), title="Since the last process's XID", legend=_XID, unit="s", nothing=_NO_XID),
        panel_of(alert("GpuMemoryFault"), title="Uncorrected memory errors", legend=_NAME),
        panel_of(alert("GpuRowRemapPending"), title="Rows that wait for a reset", legend=_NAME),
        panel_of(alert("GpuRowRemapFailed"), title="Rows that could not be replaced", legend=_NAME),
        panel_of(alert("GpuPcieDegraded"), title="PCIe lanes in use", legend=_NAME, unit="percentunit"),
        panel_of(alert("GpuNvlink"), title="NVLinks down or sending again", legend=_NAME, nothing="No NVLink"),
        lines(
            "NVLink errors a second",
            Query(total(rate(hosts(metrics.GPU_NVLINK_ERRORS)), *_GPU, "type"), f"{_NAME} {{{{type}}}}"),
        ),
        panel_of(alert("GpuThermalThrottle"), title="Held down by heat", legend=_NAME, unit="percentunit"),
        panel_of(alert("GpuPowerBrake"), title="Held by the power brake", legend=_NAME, unit="percentunit"),
        panel_of(
            alert("GpuOrphanMemory"),
            title="Memory that no engine holds",
            legend=f"{_NAME} {{{{unit}}}}",
            unit="bytes",
            nothing="None",
        ),
    ),
    collapsed=True,
)

DASHBOARD = Dashboard(
    "gpu",
    "GPU and host",
    "Is a machine at fault, and which?",
    (_FAULTS, _WORK, _HOSTS, _SINCE_WHEN, runbooks("gpu")),
)
