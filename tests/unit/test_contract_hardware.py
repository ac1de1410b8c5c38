"""Options against GPUs, images against drivers, ports against each other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleets import IMAGE, example_fleet, service
from tests.unit.contract import problems
from vllm_fleet.engine.contract import check_fleet
from vllm_fleet.planner import place
from vllm_fleet.schema import Container, Versions

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("gpu", "values", "said"),
    [
        ("mi300x", {}, "hosts.gpu1.gpu: MI300X 192GB cannot serve: AMD"),
        ("v100", {}, "hosts.gpu1.gpu: V100 SXM 32GB cannot serve: Volta"),
        ("t4", {"dtype": "bfloat16"}, "services.chat.dtype: T4 16GB of gpu1 has no bfloat16 (7.5, needs 8.0)"),
        ("t4", {"kv_cache_dtype": "fp8"},
         "services.chat.kv_cache_dtype: fp8 needs compute capability 8.0, T4 16GB of gpu1 has 7.5; use auto"),
        ("a100-80gb", {"kv_cache_dtype": "fp8", "options": {"attention-backend": "TRITON_ATTN"}},
         "services.chat.kv_cache_dtype: fp8 with TRITON_ATTN needs compute capability 8.9"),
        ("l40s", {"kv_cache_dtype": "fp8", "options": {"attention-backend": "flash_attn"}},
         "services.chat.kv_cache_dtype: fp8 with FLASH_ATTN needs compute capability 9.0"),
        ("t4", {"quantization": "experts_int8"},
         "services.chat.quantization: experts_int8 needs compute capability 8.0, T4 16GB of gpu1 has 7.5"),
    ],
)  # fmt: skip
def test_what_a_gpu_cannot(gpu: str, values: dict[str, Any], said: str) -> None:
    (found,) = problems(gpu=gpu, **values)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("gpu", "values"),
    [
        ("h200", {"quantization": "fp8", "kv_cache_dtype": "fp8", "dtype": "bfloat16"}),
        # FP8 weights run there through Marlin, an FP8 cache through FlashInfer
        ("a100-80gb", {"quantization": "fp8", "kv_cache_dtype": "fp8"}),
        ("t4", {"quantization": "fp8", "dtype": "float16"}),
        ("t4", {}),
    ],
)
def test_what_it_can(gpu: str, values: dict[str, Any]) -> None:
    assert problems(gpu=gpu, **values) == []


def test_a_checkpoint_needs_a_gpu_too() -> None:
    (found,) = problems("openai/gpt-oss-20b", gpu="t4")
    assert found.startswith("services.chat.quantization: mxfp4 needs compute capability 8.0, T4 16GB of gpu1 has 7.5")
    assert problems("openai/gpt-oss-20b", gpu="a100-80gb") == []


def test_a_host_without_a_named_gpu_is_left_to_vllm() -> None:
    hosts = [host.model_copy(update={"gpu": None}) for host in example_fleet().hosts]
    services = [service("chat", MODEL, hosts=["gpu1"], dtype="bfloat16", kv_cache_dtype="fp8")]
    fleet = example_fleet(services=services, hosts=hosts)
    assert check_fleet(fleet, place(fleet), {}) == []


@pytest.mark.parametrize(
    ("driver", "cuda", "env", "said"),
    [
        (580, "13.0", {}, None),
        (570, "13.0", {}, "is built for CUDA 13.0, which needs driver 580, and versions.nvidia_driver is 570"),
        (535, "13.0", {}, "is built for CUDA 13.0, which needs driver 580, and versions.nvidia_driver is 535"),
        (550, "13.0", {}, "is built for CUDA 13.0, which needs driver 580, and versions.nvidia_driver is 550"),
        (570, "13.0", {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}, None),
        (535, "13.0", {"VLLM_ENABLE_CUDA_COMPATIBILITY": "true"}, None),
        (550, "13.0", {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}, "is built for CUDA 13.0"),
        (575, "12.9", {}, None),
        (570, "12.9", {}, None),
        (470, "12.9", {}, "is built for CUDA 12.9, which needs driver 575, and versions.nvidia_driver is 470"),
    ],
)
def test_drivers(driver: int, cuda: str, env: dict[str, str], said: str | None) -> None:
    chat = service("chat", MODEL, hosts=["gpu1"], env=env)
    chat = chat.model_copy(update={"runtime": Container(image=IMAGE, vllm="0.33", cuda=cuda)})
    fleet = example_fleet(services=[chat], versions=Versions(nvidia_driver=driver))
    found = [str(problem) for problem in check_fleet(fleet, place(fleet), {})]
    assert len(found) == (1 if said else 0)
    assert not said or found[0].startswith(f"services.chat.runtime.image: {said}")


def test_forward_compatibility_is_for_data_centre_gpus() -> None:
    values = {"versions": Versions(nvidia_driver=570), "env": {"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}}
    assert problems(gpu="a100-80gb", **values) == []
    assert problems(gpu="rtx-4090", **values) == [
        "services.chat.env.VLLM_ENABLE_CUDA_COMPATIBILITY: does nothing for the RTX 4090 24GB of gpu1: it is for "
        "data-centre GPUs; install driver 580"
    ]


def test_the_mend_for_an_old_driver_names_what_there_is() -> None:
    (found,) = problems(versions=Versions(nvidia_driver=570))
    assert found.endswith(
        "; install driver 580 and say so in Versions(nvidia_driver=...), or use the image whose tag ends in -cu129 "
        'with cuda="12.9", or on data-centre GPUs env={"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}'
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"options": {"grpc-port": 8000}}, ["8000 on gpu1 is also that of chat's API"]),
        ({"options": {"grpc-port": 8900}}, ["8900 on gpu1 is also weights_port"]),
        ({"options": {"grpc-port": 9400}}, ["9400 on gpu1 is also monitoring.gpu_exporter_port"]),
        ({"options": {"grpc-port": 9000}}, []),
        ({"options": {"grpc-port": 9000}, "replicas": 2},
         ["9000 on gpu1 is also that of another engine (vllm-chat-0.service)"]),
    ],
)  # fmt: skip
def test_ports_that_options_open(values: dict[str, Any], said: list[str]) -> None:
    path = "services.chat.options.grpc-port"
    assert problems(**values) == [f"{path}: {line}; use another port" for line in said]
