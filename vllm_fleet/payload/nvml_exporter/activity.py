"""How much of each unit of a GPU worked between two rounds (GPM; Hopper and later)."""

from __future__ import annotations

from typing import Any

import pynvml

from .text import Sample, labels

UNITS = {
    "graphics": pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL,
    "sm": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "occupancy": pynvml.NVML_GPM_METRIC_SM_OCCUPANCY,
    "integer": pynvml.NVML_GPM_METRIC_INTEGER_UTIL,
    "tensor": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    "fp64": pynvml.NVML_GPM_METRIC_FP64_UTIL,
    "fp32": pynvml.NVML_GPM_METRIC_FP32_UTIL,
    "fp16": pynvml.NVML_GPM_METRIC_FP16_UTIL,
}


class Activity:
    """Two samples of one GPU, the last and the new one, in turns."""

    def __init__(self, handle: Any) -> None:
        """Raises NVMLError where the GPU cannot say."""
        if not pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        self._handle, self._sampled = handle, False
        self._last, self._new = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
        self._wanted = pynvml.c_nvmlGpmMetricsGet_t(version=pynvml.NVML_GPM_METRICS_GET_VERSION, numMetrics=len(UNITS))
        for place, number in enumerate(UNITS.values()):
            self._wanted.metrics[place].metricId = number

    def read(self) -> list[Sample]:
        """Since the last call; nothing at the first. A unit that the GPU cannot tell of is left out."""
        pynvml.nvmlGpmSampleGet(self._handle, self._new)
        self._last, self._new = self._new, self._last
        if not self._sampled:
            self._sampled = True
            return []
        self._wanted.sample1, self._wanted.sample2 = self._new, self._last
        pynvml.nvmlGpmMetricsGet(self._wanted)
        return [
            ("nvml_activity_ratio", labels(unit=unit), metric.value / 100)
            for unit, metric in zip(UNITS, self._wanted.metrics, strict=False)
            if metric.nvmlReturn == pynvml.NVML_SUCCESS
        ]

    def free(self) -> None:
        for sample in (self._last, self._new):
            pynvml.nvmlGpmSampleFree(sample)
