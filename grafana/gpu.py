"""GPU and host: is a machine at fault, and which."""

from __future__ import annotations

from grafana.queries import alert, hosts, rate, total, worst
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.gpu_faults import RECOVERY_ACTIONS
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, above, lines, number, panel_of, table

_GPU = ("host", "gpu")
_NAME = "{{host}} {{gpu}}"
_XID = "{{host}} {{gpu}}: {{xid}}"
_NO_XID = "None since boot"
_DEVICE = ("host", "device")
_REAL = 'device!~"lo|docker.*|veth.*"'
_IDLE = rate(hosts(metrics.CPU_SECONDS, 'mode="idle"'))
_SEEN = total(hosts(metrics.GPU_PROCESS_MEMORY), "host")
_HELD = total(hosts(metrics.GPU_MEMORY_USED), "host")


def _of_gpu(metric: str) -> str:
    return worst(hosts(metric), *_GPU)


def _activity(title: str, unit: str) -> Panel:
    series = hosts(metrics.GPU_ACTIVITY, f'unit="{unit}"')
    return lines(title, Query(worst(series, *_GPU), _NAME), unit="percentunit", full=1)


_FAULTS = Row(
    "Faults",
    (
        number(
            "What the driver asks for",
            Query(worst(hosts(metrics.GPU_RECOVERY_ACTION), "host"), "{{host}}"),
            width=12,
            height=6,
            levels=above(page=1),
            names={0: "nothing"} | {action: what for action, (what, _) in RECOVERY_ACTIONS.items()},
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
        panel_of(alert("GpuTelemetryLost"), title="Hosts up, which then must tell of their GPUs", width=6),
        panel_of(alert("GpuMissing"), title="GPUs missing", width=6),
        panel_of(alert("GpuLost"), title="GPUs up", legend=_NAME, width=6),
        panel_of(
            alert("GpuRecoveryAction"),
            title="GPUs that need a reset or the like",
            legend=f"{_NAME} {{{{wants}}}}",
            width=6,
            nothing="None",
        ),
        panel_of(
            alert("GpuXidFatal"), title="Since the last fatal XID", legend=_XID, unit="s", width=6, nothing=_NO_XID
        ),
        panel_of(
            alert("GpuXidApp"), title="Since the last process's XID", legend=_XID, unit="s", width=6, nothing=_NO_XID
        ),
        panel_of(alert("GpuMemoryFault"), title="Uncorrected memory errors", legend=_NAME, width=6),
        panel_of(alert("GpuRowRemapPending"), title="Rows that wait for a reset", legend=_NAME, width=6),
        panel_of(alert("GpuRowRemapFailed"), title="Rows that could not be replaced", legend=_NAME, width=6),
        panel_of(alert("GpuPcieDegraded"), title="PCIe lanes in use", legend=_NAME, unit="percentunit", width=6),
        panel_of(alert("GpuNvlink"), title="NVLinks down or sending again", legend=_NAME, width=6, nothing="No NVLink"),
        panel_of(alert("GpuThermalThrottle"), title="Held down by heat", legend=_NAME, unit="percentunit", width=6),
        panel_of(alert("GpuPowerBrake"), title="Held by the power brake", legend=_NAME, unit="percentunit", width=6),
        panel_of(
            alert("GpuOrphanMemory"),
            title="Memory that no engine holds",
            legend=f"{_NAME} {{{{unit}}}}",
            unit="bytes",
            width=6,
            nothing="None",
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
            Query(f"{_HELD} - ({_SEEN} or 0 * {_HELD})", "{{host}} held by none we see"),
            unit="bytes",
            stacked=True,
        ),
        lines(
            "Memory used",
            Query(f"{_of_gpu(metrics.GPU_MEMORY_USED)} / {_of_gpu(metrics.GPU_MEMORY_TOTAL)}", _NAME),
            unit="percentunit",
            full=1,
        ),
        lines(
            "Temperature",
            Query(worst(hosts(metrics.GPU_TEMPERATURE), *_GPU, "sensor"), f"{_NAME} {{{{sensor}}}}"),
            unit="celsius",
        ),
        lines(
            "Power, of what it may draw",
            Query(f"{_of_gpu(metrics.GPU_POWER)} / {_of_gpu(metrics.GPU_POWER_LIMIT)}", _NAME),
            unit="percentunit",
            full=1,
        ),
        lines(
            "Clocks held down, by reason",
            Query(worst(rate(hosts(metrics.GPU_THROTTLE_SECONDS)), *_GPU, "reason"), f"{_NAME} {{{{reason}}}}"),
            unit="percentunit",
            description="`power_cap` is ordinary under full load.",
        ),
        lines(
            "NVLink traffic",
            Query(total(rate(hosts(metrics.GPU_NVLINK_SENT)), *_GPU), f"{_NAME} sent"),
            Query(total(rate(hosts(metrics.GPU_NVLINK_RECEIVED)), *_GPU), f"{_NAME} received"),
            unit="Bps",
        ),
        lines(
            "NVLink errors a second",
            Query(total(rate(hosts(metrics.GPU_NVLINK_ERRORS)), *_GPU, "type"), f"{_NAME} {{{{type}}}}"),
        ),
        table(
            "Inventory",
            Query(f"max by (host, gpu, name, driver, serial, pci) ({hosts(metrics.GPU_INFO)})"),
            width=16,
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

DASHBOARD = Dashboard(
    "gpu",
    "GPU and host",
    "Is a machine at fault, and which?",
    (_FAULTS, _WORK, _HOSTS, runbooks("gpu")),
)
