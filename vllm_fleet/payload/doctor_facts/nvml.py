"""GPUs as NVML tells of them, through ctypes: hosts have no nvidia-ml-py.

Names, types and numbers are nvml.h's (NVML API reference, R580); tests/unit/test_doctor_facts.py holds them against
nvidia-ml-py. A call costs 0.001 to 1 ms on an H200, the first of its kind up to 10 ms.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_uint, c_ulonglong
from typing import Any

from . import parse

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, FUNCTION_NOT_FOUND = 0, 2, 3, 13
# what a GPU says of what it does not have; the first of the NVLinks past its last
NOT_THERE = (INVALID_ARGUMENT, NOT_SUPPORTED, FUNCTION_NOT_FOUND)
ERRORS = {
    4: "NO_PERMISSION",
    9: "DRIVER_NOT_LOADED",
    10: "TIMEOUT",
    14: "CORRUPTED_INFOROM",
    15: "GPU_IS_LOST",
    16: "RESET_REQUIRED",
    18: "LIB_RM_VERSION_MISMATCH",
    28: "GPU_NOT_FOUND",
    999: "UNKNOWN",
}
UNCORRECTED, VOLATILE, AGGREGATE = 1, 0, 1
TEMPERATURE_GPU = 0
RECOVERY_ACTION = 230
NVLINKS = 36


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class PciInfo(ctypes.Structure):
    """nvmlPciInfo_t."""

    _fields_ = [
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", c_uint),
        ("bus", c_uint),
        ("device", c_uint),
        ("pciDeviceId", c_uint),
        ("pciSubSystemId", c_uint),
        ("busId", ctypes.c_char * 32),
    ]


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t; its value is a union whose widest member this reads: the fields asked here are unsigned."""

    _fields_ = [
        ("fieldId", ctypes.c_uint32),
        ("scopeId", ctypes.c_uint32),
        ("timestamp", ctypes.c_int64),
        ("latencyUsec", ctypes.c_int64),
        ("valueType", c_uint),
        ("nvmlReturn", c_uint),
        ("value", c_ulonglong),
    ]


def library() -> Any:
    """libnvidia-ml; None where it is not installed."""
    try:
        return ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None


def read(lib: Any) -> dict[str, Any]:
    """`library` (its version), `gpus`, and `error`, the name of what NVML could not even begin for."""
    code = lib.nvmlInit_v2()
    if code != SUCCESS:
        # only its own version can be asked then, and a library apart from its module ends here
        own = _text(lib, "nvmlSystemGetNVMLVersion")
        return {"library": parse.nvml_version(own or ""), "error": error_name(code), "gpus": None}
    count = c_uint()
    code = lib.nvmlDeviceGetCount_v2(byref(count))
    gpus = [_gpu(lib, index) for index in range(count.value)]
    return {
        "library": _text(lib, "nvmlSystemGetDriverVersion"),
        "error": None if code == SUCCESS else error_name(code),
        "gpus": gpus if code == SUCCESS else None,
    }


def error_name(code: int) -> str:
    return ERRORS.get(code, f"error {code}")


def _text(lib: Any, function: str, *arguments: Any) -> str | None:
    buffer = ctypes.create_string_buffer(96)
    code = getattr(lib, function)(*arguments, buffer, c_uint(len(buffer)))
    return buffer.value.decode(errors="replace") if code == SUCCESS else None


def _gpu(lib: Any, index: int) -> dict[str, Any]:
    handle = ctypes.c_void_p()
    code = lib.nvmlDeviceGetHandleByIndex_v2(c_uint(index), byref(handle))
    if code != SUCCESS:
        return {"index": index, "error": error_name(code)}
    return {"index": index, **_Device(lib, handle).facts()}


class _Device:
    """One GPU; a value that it does not support is None, and `error` keeps the first other failure."""

    def __init__(self, lib: Any, handle: ctypes.c_void_p) -> None:
        self.lib, self.handle = lib, handle
        self.error: str | None = None

    def facts(self) -> dict[str, Any]:
        memory, pci = Memory(), PciInfo()
        ecc = self._numbers("nvmlDeviceGetEccMode", 2)
        rows = self._numbers("nvmlDeviceGetRemappedRows", 4)
        facts = {
            "uuid": _text(self.lib, "nvmlDeviceGetUUID", self.handle),
            "name": _text(self.lib, "nvmlDeviceGetName", self.handle),
            "pci": parse.pci_slot(pci.busId.decode()) if self._call("nvmlDeviceGetPciInfo_v3", byref(pci)) else None,
            "memory_bytes": memory.total if self._call("nvmlDeviceGetMemoryInfo", byref(memory)) else None,
            "ecc": {
                "enabled": bool(ecc[0]) if ecc else None,
                "pending": bool(ecc[1]) if ecc else None,
                "uncorrected": self._ecc_count(VOLATILE),
                "uncorrected_ever": self._ecc_count(AGGREGATE),
            },
            "remap": {"pending": bool(rows[2]), "failure": bool(rows[3])} if rows else None,
            "pcie": {
                "width": self._number("nvmlDeviceGetCurrPcieLinkWidth"),
                "width_max": self._number("nvmlDeviceGetMaxPcieLinkWidth"),
                "generation": self._number("nvmlDeviceGetCurrPcieLinkGeneration"),
                "generation_max": self._number("nvmlDeviceGetMaxPcieLinkGeneration"),
            },
            "nvlinks": self._nvlinks(),
            "clock_reasons": self._wide("nvmlDeviceGetCurrentClocksEventReasons"),
            "performance_state": self._number("nvmlDeviceGetPerformanceState"),
            "recovery_action": self._field(RECOVERY_ACTION),
            "persistence": self._number("nvmlDeviceGetPersistenceMode"),
            "temperature_celsius": self._number("nvmlDeviceGetTemperature", c_uint(TEMPERATURE_GPU)),
        }
        return {**facts, "error": self.error}

    def _call(self, function: str, *arguments: Any) -> bool:
        try:
            call = getattr(self.lib, function)
        except AttributeError:  # an older library's
            return False
        code = call(self.handle, *arguments)
        if code != SUCCESS and code not in NOT_THERE:
            self.error = self.error or error_name(code)
        return bool(code == SUCCESS)

    def _numbers(self, function: str, count: int) -> list[int] | None:
        values = [c_uint() for _ in range(count)]
        return [value.value for value in values] if self._call(function, *map(byref, values)) else None

    def _number(self, function: str, *arguments: Any) -> int | None:
        value = c_uint()
        return value.value if self._call(function, *arguments, byref(value)) else None

    def _wide(self, function: str, *arguments: Any) -> int | None:
        value = c_ulonglong()
        return value.value if self._call(function, *arguments, byref(value)) else None

    def _ecc_count(self, scope: int) -> int | None:
        return self._wide("nvmlDeviceGetTotalEccErrors", c_uint(UNCORRECTED), c_uint(scope))

    def _field(self, field: int) -> int | None:
        value = FieldValue(fieldId=field)
        asked = self._call("nvmlDeviceGetFieldValues", ctypes.c_int(1), byref(value))
        return int(value.value) if asked and value.nvmlReturn == SUCCESS else None

    def _nvlinks(self) -> list[bool] | None:
        """Whether each link that the GPU has is up, in the order of their numbers."""
        states = [self._number("nvmlDeviceGetNvLinkState", c_uint(link)) for link in range(NVLINKS)]
        return [bool(state) for state in states if state is not None] or None
