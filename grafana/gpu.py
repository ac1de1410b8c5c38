"""GPU and host: is a machine at fault, and which."""

from __future__ import annotations

from grafana.queries import alert, hosts, rate, total, worst
from grafana.shared import GPUS_LOST, THROTTLED, THROTTLED_LEVELS, runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, above, lines, number, panel_of, table

_GPU = ("host", "gpu")
_NAME = "{{host}} {{gpu}}"
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
        number("GPUs lost", Query(GPUS_LOST, "{{host}}"), width=6, height=6, levels=above(page=1)),
        number(
            "What the driver asks for",
            Query(f"max by (host) ({hosts(metrics.GPU_RECOVERY_ACTION)})", "{{host}}"),
            width=6,
            height=6,
            levels=above(page=1),
            names={0: "nothing", 1: "reset", 2: "reboot", 3: "drain", 4: "drain and reset"},
        ),
        table(
            "XIDs since boot",
            Query(worst(hosts(metrics.GPU_XIDS), *_GPU, "xid"), "Times"),
            # Grafana's dates are milliseconds
            Query(f"1000 * {worst(hosts(metrics.GPU_XID_LAST), *_GPU, 'xid')}", "Last", "dateTimeFromNow"),
            width=12,
            height=6,
            nothing="None since boot",
        ),
        lines(
            "Memory errors (ECC) since the driver was loaded",
            Query(worst(hosts(metrics.GPU_ECC_ERRORS, 'scope="volatile"'), *_GPU, "type"), f"{_NAME} {{{{type}}}}"),
            width=6,
        ),
        lines(
            "Rows to be remapped",
            Query(_of_gpu(metrics.GPU_ROW_REMAP_PENDING), f"{_NAME} waits for a reset"),
            Query(_of_gpu(metrics.GPU_ROW_REMAP_FAILURE), f"{_NAME} failed: replace the GPU"),
            width=6,
            levels=above(ticket=1),
        ),
        lines(
            "PCIe lanes missing",
            Query(f"{_of_gpu(metrics.GPU_PCIE_WIDTH_MAX)} - {_of_gpu(metrics.GPU_PCIE_WIDTH)}", _NAME),
            width=6,
            levels=above(ticket=1),
        ),
        lines(
            "NVLinks down",
            Query(total(f"{hosts(metrics.GPU_NVLINK_UP)} == bool 0", *_GPU), _NAME),
            width=6,
            levels=above(page=1),
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
            "Time throttled",
            Query(THROTTLED, f"{_NAME} {{{{reason}}}}"),
            unit="percentunit",
            levels=THROTTLED_LEVELS,
            description="Clocks held down. `power_cap` is ordinary under full load.",
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
