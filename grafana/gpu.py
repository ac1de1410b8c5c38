"""GPU and host: is the machine at fault, and which."""

from __future__ import annotations

from grafana.queries import hosts, named, or_none, rate, total, worst
from grafana.shared import runbooks
from vllm_fleet.observe import metrics
from vllm_fleet.observe.panel import Dashboard, Panel, Query, Row, above, panel_of

_GPU = (metrics.HOST, "gpu")
_NAME = "{{host}} {{gpu}}"
_HOST = "{{host}}"
_DEVICE = (metrics.HOST, "device")
_REAL = 'device!~"lo|docker.*|veth.*"'

_IDLE = rate(hosts(metrics.CPU_SECONDS, 'mode="idle"'))
_BUSY = f"1 - avg by (host) ({_IDLE})"


def _activity(title: str, unit: str) -> Panel:
    series = hosts(metrics.GPU_ACTIVITY, f'unit="{unit}"')
    return Panel(title, (Query(worst(series, *_GPU), _NAME),), unit="percentunit", full=1)


DASHBOARD = Dashboard(
    "gpu",
    "GPU and host",
    "Is a machine at fault, and which?",
    (
        Row(
            "Faults",
            (
                Panel(
                    "GPUs lost",
                    (
                        Query(
                            f"{worst(hosts(metrics.GPUS_DECLARED), metrics.HOST)}"
                            f" - {worst(hosts(metrics.GPUS_VISIBLE), metrics.HOST)}",
                            _HOST,
                        ),
                    ),
                    "stat",
                    width=6,
                    height=6,
                    levels=above(page=1),
                ),
                Panel(
                    "What the driver asks for",
                    (Query(or_none(f"{worst(hosts(metrics.GPU_RECOVERY_ACTION), *_GPU)} > 0"), _NAME),),
                    "stat",
                    width=6,
                    height=6,
                    levels=above(page=1),
                    names={0: "nothing", 1: "reset", 2: "reboot", 3: "drain", 4: "drain and reset"},
                ),
                Panel(
                    "XIDs since boot",
                    (
                        Query(worst(hosts(metrics.GPU_XIDS), *_GPU, "xid"), "Times"),
                        Query(f"1000 * {worst(hosts(metrics.GPU_XID_LAST), *_GPU, 'xid')}", "Last", "dateTimeFromNow"),
                    ),
                    "table",
                    width=12,
                    height=6,
                ),
                Panel(
                    "Memory errors (ECC)",
                    (
                        Query(
                            worst(hosts(metrics.GPU_ECC_ERRORS, 'scope="volatile"'), *_GPU, "type"), f"{_NAME} {{{{type}}}}"
                        ),
                    ),
                    width=6,
                    description="Since the driver was loaded.",
                ),
                Panel(
                    "Rows to be remapped",
                    (
                        Query(worst(hosts(metrics.GPU_ROW_REMAP_PENDING), *_GPU), f"{_NAME} waits for a reset"),
                        Query(worst(hosts(metrics.GPU_ROW_REMAP_FAILURE), *_GPU), f"{_NAME} failed: replace the GPU"),
                    ),
                    width=6,
                    levels=above(ticket=1),
                ),
                Panel(
                    "PCIe lanes missing",
                    (
                        Query(
                            f"{worst(hosts(metrics.GPU_PCIE_WIDTH_MAX), *_GPU)} - {worst(hosts(metrics.GPU_PCIE_WIDTH), *_GPU)}",
                            _NAME,
                        ),
                    ),
                    width=6,
                    levels=above(ticket=1),
                ),
                Panel(
                    "NVLinks down",
                    (Query(f"count by (host, gpu) ({hosts(metrics.GPU_NVLINK_UP)} == 0)", _NAME),),
                    width=6,
                    levels=above(page=1),
                    description="None is drawn while all are up.",
                ),
            ),
        ),
        Row(
            "GPUs at work",
            (
                _activity("SM active", "sm"),
                _activity("Tensor cores active", "tensor"),
                _activity("Memory bandwidth in use", "dram"),
                Panel(
                    "Memory by unit",
                    (
                        Query(total(hosts(metrics.GPU_MEMORY_OF_UNITS), "host", "unit"), "{{host}} {{unit}}"),
                        Query(
                            f"{total(hosts(metrics.GPU_MEMORY_USED), 'host')} - ({total(hosts(metrics.GPU_MEMORY_OF_UNITS), 'host')} "
                            f"or 0 * {total(hosts(metrics.GPU_MEMORY_USED), 'host')})",
                            "{{host}} held by nobody we see",
                        ),
                    ),
                    unit="bytes",
                    stacked=True,
                ),
                Panel(
                    "Memory used",
                    (
                        Query(
                            f"{worst(hosts(metrics.GPU_MEMORY_USED), *_GPU)} / {worst(hosts(metrics.GPU_MEMORY_TOTAL), *_GPU)}",
                            _NAME,
                        ),
                    ),
                    unit="percentunit",
                    full=1,
                ),
                Panel(
                    "Temperature",
                    (Query(worst(hosts(metrics.GPU_TEMPERATURE), *_GPU, "sensor"), f"{_NAME} {{{{sensor}}}}"),),
                    unit="celsius",
                ),
                Panel(
                    "Power of what it may draw",
                    (
                        Query(
                            f"{worst(hosts(metrics.GPU_POWER), *_GPU)} / {worst(hosts(metrics.GPU_POWER_LIMIT), *_GPU)}",
                            _NAME,
                        ),
                    ),
                    unit="percentunit",
                    full=1,
                ),
                Panel(
                    "Time throttled",
                    (Query(worst(rate(hosts(metrics.GPU_THROTTLED)), *_GPU, "reason"), f"{_NAME} {{{{reason}}}}"),),
                    unit="percentunit",
                    levels=above(0.05),
                    description="Clocks held down. `power_cap` is ordinary under full load.",
                ),
                Panel(
                    "NVLink traffic",
                    (
                        Query(total(rate(hosts(metrics.GPU_NVLINK_SENT)), *_GPU), f"{_NAME} sent"),
                        Query(total(rate(hosts(metrics.GPU_NVLINK_RECEIVED)), *_GPU), f"{_NAME} received"),
                    ),
                    unit="Bps",
                ),
                Panel(
                    "NVLink errors",
                    (Query(total(rate(hosts(metrics.GPU_NVLINK_ERRORS)), *_GPU, "type"), f"{_NAME} {{{{type}}}}"),),
                    unit="short",
                ),
                Panel(
                    "Inventory",
                    (
                        Query(
                            f"max by (host, gpu, name, driver, serial, pci) ({hosts(metrics.GPU_INFO)})",
                        ),
                    ),
                    "table",
                    width=16,
                ),
            ),
        ),
        Row(
            "Hosts",
            (
                panel_of(*named("HostDown"), title="Anything answers"),
                Panel("CPU busy", (Query(_BUSY, _HOST),), unit="percentunit", full=1),
                Panel(
                    "RAM in use",
                    (Query(f"1 - {hosts(metrics.RAM_AVAILABLE)} / {hosts(metrics.RAM_TOTAL)}", _HOST),),
                    unit="percentunit",
                    full=1,
                ),
                panel_of(
                    *named("ModelDiskFilling"),
                    title="Disk free where models are",
                    legend="{{host}} {{mountpoint}}",
                    unit="percentunit",
                ),
                Panel(
                    "Disk",
                    (
                        Query(total(rate(hosts(metrics.DISK_READ)), metrics.HOST), "{{host}} read"),
                        Query(total(rate(hosts(metrics.DISK_WRITTEN)), metrics.HOST), "{{host}} written"),
                    ),
                    unit="Bps",
                ),
                Panel(
                    "Network",
                    (
                        Query(total(rate(hosts(metrics.NETWORK_RECEIVED, _REAL)), *_DEVICE), "{{host}} {{device}} received"),
                        Query(total(rate(hosts(metrics.NETWORK_SENT, _REAL)), *_DEVICE), "{{host}} {{device}} sent"),
                    ),
                    unit="Bps",
                ),
                panel_of(*named("OomKill"), title="Killed for want of memory in 10 minutes", width=12),
                panel_of(*named("ClockSkew"), title="Clock's difference from the monitoring host's", unit="s", width=12),
            ),
        ),
        runbooks("gpu"),
    ),
)  # fmt: skip
