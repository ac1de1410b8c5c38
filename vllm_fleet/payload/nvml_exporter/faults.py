"""What NVML's errors mean here."""

from __future__ import annotations

import pynvml

NOT_THERE = frozenset(
    {
        pynvml.NVML_ERROR_INVALID_ARGUMENT,  # a link past the last
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,  # an older library
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
"""The GPU or the driver does not have it: no series."""
LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND})
"""The GPU is of no use: `nvml_gpu_up` is 0."""
OF_THE_LIBRARY = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""Nothing can be asked: `nvml_up` is 0."""

_NAMES: dict[int, str] = {
    value: name.removeprefix("NVML_ERROR_") for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")
}


def name_of(error: pynvml.NVMLError) -> str:
    """`GPU_IS_LOST`."""
    return _NAMES.get(error.value, str(error.value))
