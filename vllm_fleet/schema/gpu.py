"""The catalogue of GPUs: memory as CUDA sees it, and peak rates of the data sheets.

Drivers differ by up to 0.2 GiB; `memory_bytes` is what R570 and R580 report, where reports tell. Rates that a sheet
prints with sparsity are halved.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import Field

from .base import Model
from .errors import ConfigError

MIB, GB, TB = 2**20, 10**9, 10**12

NumberType = Literal["bf16", "fp16", "fp8", "int8", "fp4"]
"""What tensor cores multiply."""

Bytes = Annotated[int, Field(gt=0)]


class Gpu(Model):
    """One GPU, all rates those of its data sheet: what it can reach, not what an engine will."""

    name: str
    memory_bytes: Bytes
    """What CUDA says in all (cudaMemGetInfo): less than the card's name says, for ECC and the driver take some."""
    bandwidth: Bytes
    """Of the GPU's own memory, bytes a second."""
    flops: Mapping[NumberType, float]
    """Dense operations a second of the tensor cores, FP32 accumulation; a type that is missing they do not have."""
    compute_capability: tuple[int, int]
    nvlink_bandwidth: Bytes | None = None
    """Bytes a second of this GPU's links, both directions together; None without NVLink, and for cards that only an
    optional bridge joins, in pairs."""
    unsupported: str | None = None
    """Why vLLM as this bundle deploys it does not run here."""
    source: str
    """The data sheet, and where `memory_bytes` was seen."""

    @property
    def fp8(self) -> bool:
        """Whether tensor cores multiply FP8: Ada, Hopper, Blackwell."""
        return self.compute_capability >= (8, 9)

    @property
    def fp4(self) -> bool:
        """Whether tensor cores multiply FP4: Blackwell."""
        return self.compute_capability >= (10, 0)


def gpu(name: str) -> Gpu:
    """The GPU of a name: its key here or what its driver calls it, in any spelling (`H200`, `NVIDIA A100-SXM4-80GB`).

    Raises ConfigError for a name that no GPU here has.
    """
    key = _KEYS.get(_plain(name))
    if key:
        return GPUS[key]
    close = difflib.get_close_matches(name.lower(), GPUS, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    known = ", ".join(sorted(key for key, item in GPUS.items() if not item.unsupported))
    raise ConfigError(f"gpu: {name!r} is unknown; {meant}use one of {known}")


def _plain(name: str) -> str:
    """A name without what people leave out or write differently: case, brands, spaces, dashes."""
    words: list[str] = re.findall(r"[a-z0-9]+", name.lower())
    return "".join(word for word in words if word not in {"nvidia", "amd", "geforce", "tesla", "instinct"})


def _tera(**rates: float) -> dict[NumberType, float]:
    return {cast(NumberType, name): rate * 1e12 for name, rate in rates.items()}  # Gpu checks the names


_HOPPER = _tera(bf16=989.5, fp16=989.5, fp8=1979, int8=1979)
_A100 = _tera(bf16=312, fp16=312, int8=624)

GPUS: dict[str, Gpu] = {
    "a10": Gpu(
        name="A10 24GB",
        memory_bytes=22_587 * MIB,
        bandwidth=600 * GB,
        flops=_tera(bf16=125, fp16=125, int8=250),
        compute_capability=(8, 6),
        source="NVIDIA A10 data sheet; 22.06 GiB in vLLM logs and with CUDA 13 (21.99 with R535)",
    ),
    "a10g": Gpu(
        name="A10G 24GB",
        memory_bytes=22_587 * MIB,
        bandwidth=600 * GB,
        flops=_tera(bf16=70, fp16=70, int8=140),
        compute_capability=(8, 6),
        source="NVIDIA A10G data sheet; PyTorch's total on AWS g5 with CUDA 13, 22.06 GiB (21.98 with older drivers)",
    ),
    "a100-40gb": Gpu(
        name="A100 SXM 40GB",
        memory_bytes=42_404_806_656,
        bandwidth=1555 * GB,
        flops=_A100,
        compute_capability=(8, 0),
        nvlink_bandwidth=600 * GB,
        source="NVIDIA A100 data sheet; 39.49 GiB with R570 and R580 (39.39 with R535)",
    ),
    "a100-80gb": Gpu(
        name="A100 SXM 80GB",
        memory_bytes=85_093_777_408,
        bandwidth=2039 * GB,
        flops=_A100,
        compute_capability=(8, 0),
        nvlink_bandwidth=600 * GB,
        source="NVIDIA A100 data sheet; PyTorch's total, 79.25 GiB (79.15 with R535)",
    ),
    "a100-80gb-pcie": Gpu(
        name="A100 PCIe 80GB",
        memory_bytes=85_093_777_408,
        bandwidth=1935 * GB,
        flops=_A100,
        compute_capability=(8, 0),
        source="NVIDIA A100 data sheet; PyTorch's total with R580, 79.25 GiB (79.14 with R550)",
    ),
    "a40": Gpu(
        name="A40 48GB",
        memory_bytes=47_708_110_848,
        bandwidth=696 * GB,
        flops=_tera(bf16=149.7, fp16=149.7, int8=299.3),
        compute_capability=(8, 6),
        source="NVIDIA A40 data sheet; PyTorch's total with R570, 44.43 GiB (44.34 with R550)",
    ),
    "b200": Gpu(
        name="B200 SXM 180GB",
        memory_bytes=191_503_007_744,
        bandwidth=8 * TB,
        flops=_tera(bf16=2250, fp16=2250, fp8=4500, int8=4500, fp4=9000),
        compute_capability=(10, 0),
        nvlink_bandwidth=1800 * GB,
        source="NVIDIA DGX B200 data sheet, by GPU (HGX says 7.7 TB/s); PyTorch's total, 178.35 GiB",
    ),
    "b300": Gpu(
        name="B300 SXM 288GB",
        memory_bytes=287_428_640_768,
        bandwidth=8 * TB,
        flops=_tera(bf16=2250, fp16=2250, fp8=4500, int8=150, fp4=13_500),
        compute_capability=(10, 3),
        nvlink_bandwidth=1800 * GB,
        source="NVIDIA HGX B300 data sheet, by GPU; totalGlobalMem in PyTorch's profiler, 267.69 GiB",
    ),
    "gh200": Gpu(
        name="GH200 96GB",
        memory_bytes=101_468_602_368,
        bandwidth=4 * TB,
        flops=_HOPPER,
        compute_capability=(9, 0),
        nvlink_bandwidth=900 * GB,
        source="NVIDIA GH200 data sheet (HBM3); deviceQuery with R575, 94.50 GiB (95.00 with R535)",
    ),
    "h100-nvl": Gpu(
        name="H100 NVL 94GB",
        memory_bytes=95_334 * MIB,
        bandwidth=3900 * GB,
        flops=_tera(bf16=835.5, fp16=835.5, fp8=1670.5, int8=1670.5),
        compute_capability=(9, 0),
        source="NVIDIA H100 data sheet, rates halved; 93.10 GiB in vLLM and PyTorch logs",
    ),
    "h100-pcie": Gpu(
        name="H100 PCIe 80GB",
        memory_bytes=81_089 * MIB,
        bandwidth=2000 * GB,
        flops=_tera(bf16=756.5, fp16=756.5, fp8=1513, int8=1513),
        compute_capability=(9, 0),
        source="NVIDIA H100 PCIe data sheet, rates halved; 79.19 GiB in a log (79.11 with older drivers)",
    ),
    "h100-sxm": Gpu(
        name="H100 SXM 80GB",
        memory_bytes=85_017_755_648,
        bandwidth=3350 * GB,
        flops=_HOPPER,
        compute_capability=(9, 0),
        nvlink_bandwidth=900 * GB,
        source="NVIDIA H100 data sheet, rates halved; deviceQuery with R580, 79.18 GiB (79.19 with R570)",
    ),
    "h20": Gpu(
        name="H20 96GB",
        memory_bytes=97_352 * MIB,
        bandwidth=4 * TB,
        flops=_tera(bf16=148, fp16=148, fp8=296, int8=296),
        compute_capability=(9, 0),
        nvlink_bandwidth=900 * GB,
        source="NVIDIA H20's figures as resellers print them; 95.07 GiB in vLLM logs (95.00 with older drivers)",
    ),
    "h200": Gpu(
        name="H200 SXM 141GB",
        memory_bytes=143_156 * MIB,
        bandwidth=4800 * GB,
        flops=_HOPPER,
        compute_capability=(9, 0),
        nvlink_bandwidth=900 * GB,
        source="NVIDIA H200 data sheet, rates halved; PyTorch's total, 139.80 GiB",
    ),
    "l4": Gpu(
        name="L4 24GB",
        memory_bytes=23_659_151_360,
        bandwidth=300 * GB,
        flops=_tera(bf16=121, fp16=121, fp8=242.5, int8=242.5),
        compute_capability=(8, 9),
        source="NVIDIA L4 data sheet, rates halved; PyTorch's total with R580, 22.03 GiB (21.96 with older drivers)",
    ),
    "l40s": Gpu(
        name="L40S 48GB",
        memory_bytes=47_677_177_856,
        bandwidth=864 * GB,
        flops=_tera(bf16=362.05, fp16=362.05, fp8=733, int8=733),
        compute_capability=(8, 9),
        source="NVIDIA L40S data sheet; PyTorch's total, 44.40 GiB (44.52 with older drivers)",
    ),
    "mi300x": Gpu(
        name="MI300X 192GB",
        memory_bytes=196_592 * MIB,
        bandwidth=5300 * GB,
        flops=_tera(bf16=1307.4, fp16=1307.4, fp8=2614.9, int8=2614.9),
        compute_capability=(9, 4),
        unsupported="AMD: this bundle deploys vLLM's CUDA images only",
        source="AMD Instinct MI300X data sheet; PyTorch's total on ROCm 6, 191.98 GiB",
    ),
    "rtx-4090": Gpu(
        name="RTX 4090 24GB",
        memory_bytes=25_250_627_584,
        bandwidth=1008 * GB,
        flops=_tera(bf16=165.2, fp16=165.2, fp8=330.3, int8=660.6),
        compute_capability=(8, 9),
        source="NVIDIA Ada architecture white paper; PyTorch's total with R580, 23.52 GiB (23.65 with older drivers)",
    ),
    "rtx-5090": Gpu(
        name="RTX 5090 32GB",
        memory_bytes=33_668_857_856,
        bandwidth=1792 * GB,
        flops=_tera(bf16=209.5, fp16=209.5, fp8=419, int8=838, fp4=1676),
        compute_capability=(12, 0),
        source="NVIDIA RTX Blackwell architecture white paper; deviceQuery with R580, 31.36 GiB",
    ),
    "rtx-a6000": Gpu(
        name="RTX A6000 48GB",
        memory_bytes=48_541 * MIB,
        bandwidth=768 * GB,
        flops=_tera(bf16=154.8, fp16=154.8, int8=309.7),
        compute_capability=(8, 6),
        source="NVIDIA GA102 white paper; 47.40 GiB in PyTorch logs (47.53 with older drivers)",
    ),
    "rtx-pro-6000": Gpu(
        name="RTX PRO 6000 Blackwell 96GB",
        memory_bytes=101_973_491_712,
        bandwidth=1597 * GB,
        flops=_tera(bf16=500, fp16=500, fp8=1000, int8=1000, fp4=2000),
        compute_capability=(12, 0),
        source="NVIDIA's Server Edition page, rates halved (Workstation: 1792 GB/s); PyTorch's total, 94.97 GiB",
    ),
    "t4": Gpu(
        name="T4 16GB",
        memory_bytes=15_637_086_208,
        bandwidth=320 * GB,
        flops=_tera(fp16=65, int8=130),
        compute_capability=(7, 5),
        source="NVIDIA T4 product brief (its data sheet says 300 GB/s); PyTorch's total with CUDA 13, 14.56 GiB",
    ),
    "v100": Gpu(
        name="V100 SXM 32GB",
        memory_bytes=34_072_559_616,
        bandwidth=900 * GB,
        flops=_tera(fp16=125),
        compute_capability=(7, 0),
        nvlink_bandwidth=300 * GB,
        unsupported="Volta: vLLM takes compute capability 7.5 and newer",
        source="NVIDIA V100 data sheet; deviceQuery with R575, 31.73 GiB",
    ),
}

_ALIASES = {
    "a100": "a100-80gb",
    "A100-SXM4-40GB": "a100-40gb",
    "A100-SXM4-80GB": "a100-80gb",
    "A100 80GB PCIe": "a100-80gb-pcie",
    "A100 PCIe": "a100-80gb-pcie",
    "A100 SXM": "a100-80gb",
    "B200 SXM": "b200",
    "B300 SXM6 AC": "b300",
    "GH200 480GB": "gh200",
    "GH200 120GB": "gh200",
    "h100": "h100-sxm",
    "H100 80GB": "h100-sxm",
    "H100 80GB HBM3": "h100-sxm",
    "H100 SXM5": "h100-sxm",
    "H200 SXM": "h200",
    "4090": "rtx-4090",
    "5090": "rtx-5090",
    "A6000": "rtx-a6000",
    "PRO 6000": "rtx-pro-6000",
    "RTX PRO 6000 Blackwell": "rtx-pro-6000",
    "RTX PRO 6000 Blackwell Server Edition": "rtx-pro-6000",
    "RTX PRO 6000 Blackwell Workstation Edition": "rtx-pro-6000",
    "V100-SXM2-32GB": "v100",
}
"""What drivers and people call a GPU, besides its key and its name."""

_KEYS = (
    {_plain(item.name): key for key, item in GPUS.items()}
    | {_plain(alias): key for alias, key in _ALIASES.items()}
    | {_plain(key): key for key in GPUS}
)
