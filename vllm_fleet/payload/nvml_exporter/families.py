"""Every family there is. All but those of the library have the labels `gpu` (its index) and `uuid`."""

from __future__ import annotations

from .text import Family

_LIBRARY = (
    Family("nvml_snapshot_age_seconds", "gauge", "How old all other series are: NVML may block."),
    Family("nvml_up", "gauge", "Whether NVML answered in the last round."),
    Family("nvml_error_info", "gauge", "Why it did not, by NVML's name of the error.", ("error",)),
    Family("nvml_collection_seconds", "gauge", "How long the last round took."),
    Family("nvml_gpus_declared", "gauge", "GPUs that the inventory declares for this host."),
    Family("nvml_gpus_visible", "gauge", "GPUs that answer."),
    Family("nvml_kernel_log_followed", "gauge", "Whether the kernel's log is read for XIDs."),
)
LIBRARY = {family.name for family in _LIBRARY}
"""Those without `gpu` and `uuid`."""

_OF_A_GPU = (
    Family("nvml_gpu_up", "gauge", "0 for a GPU that is lost or needs a reset; its other series are then gone."),
    Family(
        "nvml_gpu_info",
        "gauge",
        "What the GPU is.",
        ("name", "pci", "serial", "vbios", "driver"),
    ),
    Family("nvml_errors_total", "counter", "Calls that failed, by NVML's name of the error.", ("error",)),
    Family("nvml_memory_total_bytes", "gauge", "Memory of the GPU."),
    Family("nvml_memory_used_bytes", "gauge", "Memory that processes hold."),
    Family("nvml_memory_reserved_bytes", "gauge", "Memory that the driver and firmware keep."),
    Family("nvml_memory_free_bytes", "gauge", "Memory nobody holds."),
    Family("nvml_process_memory_bytes", "gauge", "Memory by the systemd unit of who holds it.", ("unit",)),
    Family("nvml_utilization_ratio", "gauge", "Time in which a kernel ran or memory was touched.", ("unit",)),
    Family("nvml_activity_ratio", "gauge", "How much of each unit worked since the last round (GPM).", ("unit",)),
    Family("nvml_temperature_celsius", "gauge", "Temperature by sensor.", ("sensor",)),
    Family("nvml_temperature_margin_celsius", "gauge", "What is left until clocks are held down."),
    Family("nvml_power_watts", "gauge", "Power drawn."),
    Family("nvml_power_limit_watts", "gauge", "Power that it may draw."),
    Family("nvml_energy_joules_total", "counter", "Energy drawn since the driver was loaded."),
    Family("nvml_clock_hertz", "gauge", "Clocks.", ("clock",)),
    Family("nvml_clock_max_hertz", "gauge", "The highest clocks.", ("clock",)),
    Family("nvml_throttle_seconds_total", "counter", "Time in which clocks were held down, by reason.", ("reason",)),
    Family("nvml_ecc_enabled", "gauge", "Whether memory has ECC."),
    Family(
        "nvml_ecc_errors_total",
        "counter",
        "Memory errors; volatile ones since the driver was loaded, aggregate ones ever.",
        ("type", "scope"),
    ),
    Family("nvml_remapped_rows", "gauge", "Rows of memory that were replaced, by the error before.", ("cause",)),
    Family("nvml_row_remap_pending", "gauge", "Whether a row waits for a reset to be replaced."),
    Family("nvml_row_remap_failure", "gauge", "Whether a row could not be replaced: the GPU must be."),
    Family(
        "nvml_recovery_action",
        "gauge",
        "What the driver asks for: 0 nothing, 1 reset, 2 reboot, 3 drain, 4 drain and reset, above: nvml.h.",
    ),
    Family("nvml_xid_errors_total", "counter", "XIDs in the kernel's log since boot.", ("xid",)),
    Family("nvml_xid_last_timestamp_seconds", "gauge", "When the last one was written, since the epoch.", ("xid",)),
    Family("nvml_pcie_link_width", "gauge", "PCIe lanes in use."),
    Family("nvml_pcie_link_width_max", "gauge", "PCIe lanes that GPU and slot have."),
    Family("nvml_pcie_link_generation", "gauge", "PCIe generation in use; an idle GPU may lower it."),
    Family("nvml_pcie_link_generation_max", "gauge", "PCIe generation that GPU and slot have."),
    Family("nvml_pcie_replays_total", "counter", "PCIe packets that were sent again."),
    Family("nvml_nvlink_up", "gauge", "Whether an NVLink is up.", ("link",)),
    Family("nvml_nvlink_errors_total", "counter", "Errors of an NVLink.", ("link", "type")),
    Family("nvml_nvlink_transmitted_bytes_total", "counter", "Data sent over an NVLink.", ("link",)),
    Family("nvml_nvlink_received_bytes_total", "counter", "Data received over an NVLink.", ("link",)),
    Family("nvml_fabric_state", "gauge", "Registration with the NVSwitch fabric: 1 not begun, 2 under way, 3 done."),
    Family("nvml_fabric_status", "gauge", "What came of it: 0 is success, others are NVML's errors."),
    Family("nvml_mig_enabled", "gauge", "Whether the GPU is divided (MIG)."),
    Family("nvml_mig_info", "gauge", "What a MIG device is.", ("mig", "mig_uuid", "name")),
    Family("nvml_mig_memory_total_bytes", "gauge", "Memory of a MIG device.", ("mig",)),
    Family("nvml_mig_memory_used_bytes", "gauge", "Memory that processes hold there.", ("mig",)),
    Family("nvml_mig_memory_free_bytes", "gauge", "Memory nobody holds there.", ("mig",)),
)

FAMILIES = {family.name: family for family in (*_LIBRARY, *_OF_A_GPU)}
"""By name, in the order of a scrape."""
