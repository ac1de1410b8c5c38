"""The catalogue of GPUs: figures that agree with each other, and the names people give."""

import re

import pytest

from vllm_fleet.schema import ConfigError
from vllm_fleet.schema.gpu import GPUS, gpu

EVERY = pytest.mark.parametrize("key", GPUS)

# What a card is sold as is in its name: "H100 SXM 80GB".
MARKETED = {key: int(re.search(r"(\d+)GB$", item.name)[1]) for key, item in GPUS.items()}

CAPABILITIES = {
    "t4": (7, 5), "a100-80gb": (8, 0), "a10g": (8, 6), "l4": (8, 9), "rtx-4090": (8, 9), "h200": (9, 0),
    "b200": (10, 0), "b300": (10, 3), "rtx-5090": (12, 0), "rtx-pro-6000": (12, 0),
}  # fmt: skip


def about(value):
    """A data sheet rounds each of its rates by itself: L40S prints 362.05 and 733."""
    return pytest.approx(value, rel=0.03)


@EVERY
def test_cuda_sees_a_little_less_than_the_name_says(key):
    assert 0.90 <= GPUS[key].memory_bytes / (MARKETED[key] * 2**30) < 1


@pytest.mark.parametrize(
    "key, gib",
    [
        ("a10g", 22.06), ("l4", 22.03), ("t4", 14.56), ("a40", 44.43), ("l40s", 44.40), ("rtx-a6000", 47.40),
        ("a100-40gb", 39.49), ("a100-80gb", 79.25), ("h100-sxm", 79.18), ("h100-nvl", 93.10), ("h200", 139.80),
        ("gh200", 94.50), ("h20", 95.07), ("b200", 178.35), ("b300", 267.69), ("rtx-4090", 23.52), ("rtx-5090", 31.36),
        ("rtx-pro-6000", 94.97), ("v100", 31.73), ("mi300x", 191.98),
    ],
)  # fmt: skip
def test_memory_is_what_pytorch_prints(key, gib):
    assert round(GPUS[key].memory_bytes / 2**30, 2) == gib


@EVERY
def test_types_are_those_of_the_generation(key):
    item = GPUS[key]
    assert ("fp8" in item.flops, "fp4" in item.flops) == (item.fp8, item.fp4)
    assert ("bf16" in item.flops) == (item.compute_capability >= (8, 0))
    assert ("int8" in item.flops) == (item.compute_capability >= (7, 5))
    assert "fp16" in item.flops


@EVERY
def test_narrower_types_are_faster(key):
    rates = GPUS[key].flops
    assert rates.get("bf16", rates["fp16"]) == rates["fp16"]
    if "fp8" in rates:
        assert rates["fp8"] == about(2 * rates["bf16"])
    if "fp4" in rates:
        # GeForce halves FP32 accumulation, but not for FP4; Blackwell Ultra's FP4 is half as fast again
        times = {"rtx-5090": 4, "b300": 3}.get(key, 2)
        assert rates["fp4"] == about(times * rates["fp8"])
    if "int8" in rates and key != "b300":  # Blackwell Ultra gave up INT8
        times = 4 if key in ("rtx-4090", "rtx-5090") else 2
        assert rates["int8"] == about(times * rates["fp16"])


@EVERY
def test_rates_are_dense_and_in_bytes_or_operations_a_second(key):
    item = GPUS[key]
    assert 300e9 <= item.bandwidth <= 8e12
    assert 65e12 <= item.flops["fp16"] <= 2250e12
    if item.nvlink_bandwidth:
        assert 300e9 <= item.nvlink_bandwidth <= 1800e9
    # a figure in the wrong unit, or with sparsity, falls out of this
    assert 30 <= item.flops["fp16"] / item.bandwidth <= 450


def test_gpus_of_one_chip_share_its_rates():
    assert GPUS["h100-sxm"].flops == GPUS["h200"].flops == GPUS["gh200"].flops
    assert GPUS["a100-40gb"].flops == GPUS["a100-80gb"].flops == GPUS["a100-80gb-pcie"].flops
    bandwidths = [GPUS[key].bandwidth for key in ("a100-40gb", "a100-80gb-pcie", "a100-80gb")]
    assert bandwidths == sorted(bandwidths)


def test_capabilities_decide_what_tensor_cores_multiply():
    assert {key: GPUS[key].compute_capability for key in CAPABILITIES} == CAPABILITIES
    assert {key for key, item in GPUS.items() if item.fp4} == {"b200", "b300", "rtx-5090", "rtx-pro-6000"}
    assert not any(GPUS[key].fp8 for key in ("t4", "a10", "a10g", "a40", "rtx-a6000", "a100-80gb", "v100"))


def test_unsupported_gpus_say_why():
    reasons = {key: item.unsupported for key, item in GPUS.items() if item.unsupported}
    assert reasons == {
        "mi300x": "AMD: this bundle deploys vLLM's CUDA images only",
        "v100": "Volta: vLLM takes compute capability 7.5 and newer",
    }


@EVERY
def test_keys_and_names_are_accepted_in_any_spelling(key):
    item = GPUS[key]
    for name in (key, key.upper(), key.replace("-", " "), key.replace("-", "_"), item.name, f"NVIDIA {item.name}"):
        assert gpu(name) is item


@pytest.mark.parametrize(
    "name, key",
    [
        ("H200", "h200"),
        ("NVIDIA H200", "h200"),
        ("h100", "h100-sxm"),
        ("a100", "a100-80gb"),
        ("A100-80GB", "a100-80gb"),
        ("RTX 4090", "rtx-4090"),
        ("RTX4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("A6000", "rtx-a6000"),
        # as nvidia-smi calls them
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA GeForce RTX 5090", "rtx-5090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-pro-6000"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_other_names(name, key):
    assert gpu(name) is GPUS[key]


# The last ones are other GPUs, with other memory or links than those of the catalogue.
@pytest.mark.parametrize(
    "name",
    ["", "gpu", "NVIDIA", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H20-3e", "NVIDIA A100-PCIE-40GB",
     "NVIDIA RTX 6000 Ada Generation", "Tesla V100-SXM2-16GB"],
)  # fmt: skip
def test_unknown_names_are_no_gpu(name):
    with pytest.raises(ConfigError, match=f"^gpu: {re.escape(repr(name))} is unknown; "):
        gpu(name)


def test_an_unknown_name_is_one_line_with_the_mend():
    known = (
        "use one of a10, a100-40gb, a100-80gb, a100-80gb-pcie, a10g, a40, b200, b300, gh200, h100-nvl, h100-pcie, "
        "h100-sxm, h20, h200, l4, l40s, rtx-4090, rtx-5090, rtx-a6000, rtx-pro-6000, t4"
    )
    with pytest.raises(ConfigError) as caught:
        gpu("h300")
    assert caught.value.message == f"gpu: 'h300' is unknown; did you mean h200? {known}"
    with pytest.raises(ConfigError) as caught:
        gpu("tpu v7")
    assert caught.value.message == f"gpu: 'tpu v7' is unknown; {known}"


def test_sources_are_one_line():
    assert all(item.source and "\n" not in item.source for item in GPUS.values())
