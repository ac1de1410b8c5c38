"""The parts of a divided GPU (MIG), each with series of its own."""

from __future__ import annotations

from typing import Any

import pynvml

from .text import Sample, joined, labels


def devices(handle: Any) -> list[Any]:
    """The handles of a GPU's MIG devices; none where it is not divided. Raises NVMLError where it cannot be."""
    current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    found = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NOT_FOUND:  # as many as there may be, not as there are
                raise
    return found


def samples(divided: list[Any]) -> list[Sample]:
    """What each is, and its memory."""
    made: list[Sample] = [("nvml_mig_enabled", "", int(bool(divided)))]
    for number, device in enumerate(divided):
        mark = labels(mig=number)
        what = labels(mig_uuid=pynvml.nvmlDeviceGetUUID(device), name=pynvml.nvmlDeviceGetName(device))
        made.append(("nvml_mig_info", joined(mark, what), 1))
        memory = pynvml.nvmlDeviceGetMemoryInfo(device)
        made += [(f"nvml_mig_memory_{part}_bytes", mark, getattr(memory, part)) for part in ("total", "used", "free")]
    return made
