"""What a GPU is asked, and how each answer becomes samples. Numbers are nvml.h's (NVML API reference, R580).

GetPcieThroughput is left out: it samples for 20 ms a direction. Some calls keep a core busy for a millisecond or more
(H200, driver 580.159.04: energy 3, an error counter of an NVLink 1, ECC mode and margin 0.9, replays 0.3); they are
asked seldom, the counters of NVLinks one link at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

from .text import Sample, joined, labels


@dataclass(frozen=True)
class Number:
    """A call that answers one number, in `per`-ths of the family's unit."""

    family: str
    call: Callable[..., int]
    arguments: tuple[int, ...] = ()
    times: int = 1
    per: int = 1
    labels: str = ""


@dataclass(frozen=True)
class Field:
    """A field of nvmlDeviceGetFieldValues, which answers many in one call."""

    family: str
    id: int
    times: int = 1
    per: int = 1
    labels: str = ""
    scope: int = 0


_CLOCKS = {
    "graphics": pynvml.NVML_CLOCK_GRAPHICS,
    "sm": pynvml.NVML_CLOCK_SM,
    "memory": pynvml.NVML_CLOCK_MEM,
    "video": pynvml.NVML_CLOCK_VIDEO,
}
_ECC_TYPES = {"corrected": pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, "uncorrected": 1}
_ECC_SCOPES = {"volatile": pynvml.NVML_VOLATILE_ECC, "aggregate": pynvml.NVML_AGGREGATE_ECC}
_NVLINK_ERRORS = {
    "replay": pynvml.NVML_NVLINK_ERROR_DL_REPLAY,
    "recovery": pynvml.NVML_NVLINK_ERROR_DL_RECOVERY,
    "crc_flit": pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT,
    "crc_data": pynvml.NVML_NVLINK_ERROR_DL_CRC_DATA,
}
_NVLINK_BYTES = {
    "nvml_nvlink_transmitted_bytes_total": pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX,
    "nvml_nvlink_received_bytes_total": pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX,
}
# nanoseconds
_THROTTLE = {
    "power_cap": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP,
    "sync_boost": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST,
    "software_thermal": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
    "hardware_thermal": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
    "power_brake": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
}

OFTEN = (
    Number("nvml_temperature_celsius", pynvml.nvmlDeviceGetTemperature, (0,), labels=labels(sensor="gpu")),
    Number("nvml_power_watts", pynvml.nvmlDeviceGetPowerUsage, per=1000),
    *(
        Number("nvml_clock_hertz", pynvml.nvmlDeviceGetClockInfo, (number,), 10**6, labels=labels(clock=name))
        for name, number in _CLOCKS.items()
    ),
    *(
        Number(
            "nvml_ecc_errors_total",
            pynvml.nvmlDeviceGetTotalEccErrors,
            (_ECC_TYPES[kind], _ECC_SCOPES[scope]),
            labels=labels(type=kind, scope=scope),
        )
        for kind in _ECC_TYPES
        for scope in _ECC_SCOPES
    ),
    Number("nvml_pcie_link_width", pynvml.nvmlDeviceGetCurrPcieLinkWidth),
    Number("nvml_pcie_link_generation", pynvml.nvmlDeviceGetCurrPcieLinkGeneration),
)
SELDOM = (
    Number("nvml_temperature_margin_celsius", pynvml.nvmlDeviceGetMarginTemperature),
    Number("nvml_power_limit_watts", pynvml.nvmlDeviceGetEnforcedPowerLimit, per=1000),
    Number("nvml_energy_joules_total", pynvml.nvmlDeviceGetTotalEnergyConsumption, per=1000),
    *(
        Number("nvml_clock_max_hertz", pynvml.nvmlDeviceGetMaxClockInfo, (number,), 10**6, labels=labels(clock=name))
        for name, number in _CLOCKS.items()
    ),
    Number("nvml_pcie_link_width_max", pynvml.nvmlDeviceGetMaxPcieLinkWidth),
    Number("nvml_pcie_link_generation_max", pynvml.nvmlDeviceGetMaxPcieLinkGeneration),
    Number("nvml_pcie_replays_total", pynvml.nvmlDeviceGetPcieReplayCounter),
)
FIELDS = (
    Field("nvml_temperature_celsius", pynvml.NVML_FI_DEV_MEMORY_TEMP, labels=labels(sensor="memory")),
    Field("nvml_recovery_action", pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
    *(
        Field("nvml_throttle_seconds_total", number, per=10**9, labels=labels(reason=reason))
        for reason, number in _THROTTLE.items()
    ),
)


def states_of(links: list[int]) -> tuple[Number, ...]:
    """Whether each NVLink is up."""
    return tuple(
        Number("nvml_nvlink_up", pynvml.nvmlDeviceGetNvLinkState, (link,), labels=labels(link=link)) for link in links
    )


def bytes_of(links: list[int]) -> tuple[Field, ...]:
    """What went over each NVLink; NVML counts KiB."""
    return tuple(
        Field(family, number, times=1024, labels=labels(link=link), scope=link)
        for link in links
        for family, number in _NVLINK_BYTES.items()
    )


def errors_of(link: int) -> tuple[Number, ...]:
    """The errors of one NVLink."""
    counter = pynvml.nvmlDeviceGetNvLinkErrorCounter
    return tuple(
        Number("nvml_nvlink_errors_total", counter, (link, number), labels=labels(link=link, type=name))
        for name, number in _NVLINK_ERRORS.items()
    )


def scaled(value: float, times: int, per: int) -> float:
    return value * times if per == 1 else value * times / per


_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Of a field's value, by nvmlValueType_t."""


def fields(handle: Any, asked: tuple[Field, ...]) -> list[Sample]:
    """The samples of those fields that the GPU has."""
    answers = pynvml.nvmlDeviceGetFieldValues(handle, [(each.id, each.scope) for each in asked])
    return [
        (each.family, each.labels, scaled(getattr(answer.value, _MEMBERS[answer.valueType]), each.times, each.per))
        for each, answer in zip(asked, answers, strict=True)
        if answer.nvmlReturn == pynvml.NVML_SUCCESS
    ]


def memory(handle: Any) -> list[Sample]:
    found = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return [(f"nvml_memory_{part}_bytes", "", getattr(found, part)) for part in ("total", "used", "reserved", "free")]


def utilization(handle: Any) -> list[Sample]:
    found = pynvml.nvmlDeviceGetUtilizationRates(handle)
    return [
        ("nvml_utilization_ratio", labels(unit=unit), value / 100)
        for unit, value in (("gpu", found.gpu), ("memory", found.memory))
    ]


def remapped_rows(handle: Any) -> list[Sample]:
    correctable, uncorrectable, pending, failure = pynvml.nvmlDeviceGetRemappedRows(handle)
    return [
        ("nvml_remapped_rows", labels(cause="correctable"), correctable),
        ("nvml_remapped_rows", labels(cause="uncorrectable"), uncorrectable),
        ("nvml_row_remap_pending", "", pending),
        ("nvml_row_remap_failure", "", failure),
    ]


def ecc_mode(handle: Any) -> list[Sample]:
    current, _pending = pynvml.nvmlDeviceGetEccMode(handle)
    return [("nvml_ecc_enabled", "", current)]


def fabric(handle: Any) -> list[Sample]:
    """Nothing on a machine without NVSwitches."""
    found = pynvml.c_nvmlGpuFabricInfo_v2_t()
    pynvml.nvmlDeviceGetGpuFabricInfoV(handle, pynvml.byref(found))
    if found.state == pynvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
        return []
    return [("nvml_fabric_state", "", found.state), ("nvml_fabric_status", "", found.status)]


def of_gpu(marks: str, samples: list[Sample]) -> list[Sample]:
    """Samples with the labels of their GPU."""
    return [(family, joined(marks, own), value) for family, own, value in samples]
