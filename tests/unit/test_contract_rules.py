"""What the parser lets through and vLLM refuses, each rule once firing and once silent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleets import example_fleet, service
from tests.unit.contract import of_command, problems
from vllm_fleet.engine.contract import check_fleet
from vllm_fleet.planner import place

OPTIONS = "services.chat.options"
SPECULATION = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}
DRAFT = {"method": "draft_model", "model": "x", "num_speculative_tokens": 3}


def options(**values: Any) -> dict[str, Any]:
    """Options by their names with underscores."""
    return {name.replace("_", "-"): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"enable-auto-tool-choice": True}, "enable-auto-tool-choice: needs tool-call-parser"),
        ({"tool-call-parser": "hermes"}, "tool-call-parser: requests with tools are answered 400"),
        ({"enable-auto-tool-choice": True, "tool-call-parser": "llama3"}, "tool-call-parser: vLLM 0.33 has no"),
        ({"reasoning-parser": "deepseek"}, "reasoning-parser: vLLM 0.33 has no 'deepseek'; did you mean deepseek_v4?"),
        ({"attention-backend": "flashattn"}, "attention-backend: vLLM 0.33 has no 'flashattn'; did you mean"),
        ({"load-format": "bitsandbytes"}, "load-format: 'bitsandbytes' left vLLM's main package"),
        ({"load-format": "safetensor"}, "load-format: vLLM 0.33 has no 'safetensor'; did you mean safetensors?"),
        ({"grpc-port": 99999}, "grpc-port: must be a port from 1 to 65535, got 99999"),
        ({"enable-log-outputs": True}, "enable-log-outputs: needs enable-log-requests"),
        ({"lora-modules": ["a=/adapters/a"]}, "lora-modules: needs enable-lora"),
        ({"enable-lora": True, "lora-modules": ["a"]}, "lora-modules: 'a' is no adapter; write NAME=PATH"),
        ({"enable-lora": True, "max-loras": 4, "max-cpu-loras": 2}, "max-cpu-loras: 2 is less than max-loras (4)"),
        ({"max-loras": 4}, "max-loras: needs enable-lora"),
        ({"eplb-config": {"num_redundant_experts": 2}}, "eplb-config.num_redundant_experts: needs enable-eplb"),
        ({"enable-per-request-metrics": True, "disable-log-stats": True},
         "enable-per-request-metrics: does not go with disable-log-stats"),
        ({"attention-backend": "FLASHINFER", "attention-config": {"backend": "FLASHINFER"}},
         "attention-backend: is also attention-config.backend"),
        ({"spec-method": "ngram", "speculative-config": SPECULATION}, "spec-method: is also speculative-config.method"),
        ({"speculative-config": {"num_speculative_tokens": 5}}, "speculative-config: needs a model"),
        ({"speculative-config": {"method": "ngram"}}, "speculative-config: needs num_speculative_tokens"),
        ({"speculative-config": {**DRAFT, "tensor_parallel_size": 2}},
         "speculative-config.tensor_parallel_size: is refused; use draft_tensor_parallel_size"),
        ({"speculative-config": {**DRAFT, "draft_tensor_parallel_size": 4}},
         "speculative-config.draft_tensor_parallel_size: 4 is neither 1 nor the model's 1"),
        ({"speculative-config": {**SPECULATION, "prompt_lookup_min": 9}},
         "speculative-config.prompt_lookup_min: 9 is more than prompt_lookup_max (4)"),
        ({"structured-outputs-config": {"disable_any_whitespace": True}},
         'structured-outputs-config.disable_any_whitespace: does not go with backend auto; add "backend": "xgrammar"'),
        ({"max-num-batched-tokens": 32, "max-num-seqs": 64}, "max-num-batched-tokens: 32 is less than max-num-seqs"),
        ({"max-num-seqs": 8, "max-num-active-seqs": 9}, "max-num-active-seqs: 9 is more than max-num-seqs (8)"),
        ({"sse-keep-alive-interval": -1}, "sse-keep-alive-interval: must be 0 or more, got -1"),
        ({"runner": "pooling", "reasoning-parser": "qwen3"}, "reasoning-parser: is for models that generate"),
        ({"lora-modules": [{"name": "a"}], "enable-lora": True}, "lora-modules: "),
    ],
)  # fmt: skip
def test_one_problem(wrong: dict[str, Any], said: str) -> None:
    (found,) = problems(options=wrong)
    assert found.startswith(f"{OPTIONS}.{said}")


@pytest.mark.parametrize(
    "right",
    [
        {"enable-auto-tool-choice": True, "tool-call-parser": "llama3_json"},
        {"enable-auto-tool-choice": True, "tool-call-parser": "mine", "tool-parser-plugin": "/plugins/mine.py"},
        {"reasoning-parser": "qwen3"},
        {"reasoning-parser": "mine", "reasoning-parser-plugin": "/plugins/mine.py"},
        {"attention-backend": "flashinfer"},
        {"attention-backend": "auto"},
        {"enable-log-outputs": True, "enable-log-requests": True},
        {"enable-lora": True, "max-loras": 2, "max-cpu-loras": 4, "max-lora-rank": 64, "lora-modules": ["a=/a"]},
        {"enable-lora": True, "lora-modules": [{"name": "a", "path": "/a", "base_model_name": "b"}]},
        {"speculative-config": SPECULATION},
        {"speculative-config": DRAFT},
        {"speculative-config": {"method": "mtp", "num_speculative_tokens": 1}},
        {"speculative-config": {"model": "x", "num_speculative_tokens": 3, "draft_tensor_parallel_size": 1}},
        {"structured-outputs-config": {"backend": "guidance", "disable_additional_properties": True}},
        {"max-num-batched-tokens": 4096, "max-num-seqs": 64},
        {"max-num-batched-tokens": "8k"},
        {"runner": "pooling"},
        {"enable-prefix-caching-hash-algo": None},
        {"cudagraph-capture-sizes": [1, 2, 4]},
        {"disable-log-stats": True, "kv-offloading-size": 64, "renderer-num-workers": 2},
        {"compilation-config": {"cudagraph_mode": "FULL_AND_PIECEWISE", "pass_config": {"fuse_norm_quant": True}}},
    ],
    ids=str,
)
def test_none(right: dict[str, Any]) -> None:
    assert problems(options=right) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"quantization": "awqq"}, "services.chat.quantization: vLLM 0.33 has no method 'awqq'; did you mean awq?"),
        ({"quantization": "gguf"}, "services.chat.quantization: 'gguf' left vLLM's main package; take an image"),
        ({"quantization": "awq"}, "services.chat.quantization: 'awq' needs a checkpoint of it"),
        ({"max_model_len": 200_000}, "services.chat.max_model_len: 200000 is more than the 131072 of meta-llama"),
        ({"max_model_len": 4096, "options": options(max_num_batched_tokens=1024, enable_chunked_prefill=False)},
         "services.chat.options.max-num-batched-tokens: 1024 is less than max-model-len (4096) with"),
        ({"max_model_len": 4096, "options": options(long_prefill_token_threshold=8192)},
         "services.chat.options.long-prefill-token-threshold: 8192 is more than max-model-len (4096)"),
        ({"env": {"VLLM_LOGGIN_LEVEL": "INFO"}},
         "services.chat.env.VLLM_LOGGIN_LEVEL: vLLM 0.33 does not read it; did you mean VLLM_LOGGING_LEVEL?"),
        ({"env": {"VLLM_CPU_KVCACHE_SPACE": "four"}}, "services.chat.env.VLLM_CPU_KVCACHE_SPACE: must be a whole"),
        ({"env": {"VLLM_BATCH_INVARIANT": "yes"}}, "services.chat.env.VLLM_BATCH_INVARIANT: must be 0 or 1, got 'yes'"),
        ({"env": {"VLLM_WORKER_MULTIPROC_METHOD": "thread"}},
         "services.chat.env.VLLM_WORKER_MULTIPROC_METHOD: does not take 'thread'; use one of spawn, fork"),
        ({"options": {"allowed-origins": ["*"]}}, "services.chat.options.allowed-origins: must be JSON"),
    ],
)  # fmt: skip
def test_fields_of_a_service(values: dict[str, Any], said: str) -> None:
    (found,) = problems(**values)
    assert found.startswith(said)


@pytest.mark.parametrize(
    "values",
    [
        {"quantization": "fp8"},
        {"quantization": "fp8_per_tensor"},
        {"quantization": "fbgemm_fp8", "options": {"allow-deprecated-quantization": True}},
        {"max_model_len": 200_000, "env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
        {"env": {"NCCL_DEBUG": "INFO", "VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true"}},
        {"options": {"allowed-origins": '["*"]'}},
    ],
    ids=str,
)
def test_none_of_a_service(values: dict[str, Any]) -> None:
    found = problems(**values)
    # what only a checkpoint decides is the next test's
    assert [line for line in found if "needs a checkpoint" not in line] == []


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        (
            "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
            {"quantization": "awq"},
            ["'awq', but the checkpoint is gptq; leave it"],
        ),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", {"quantization": "gptq_marlin"}, []),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", {"quantization": "awq", "tensor_parallel_size": 4}, []),
        ("google/gemma-3-1b-it", {"dtype": "float16"}, ["gemma-3-1b-it is unstable in float16"]),
        ("BAAI/bge-m3", {"options": {"runner": "generate"}}, ["BAAI/bge-m3 does not generate; use pooling"]),
        ("BAAI/bge-m3", {"options": {"runner": "pooling"}}, []),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", {"expert_parallel": True}, []),
        (
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            {"expert_parallel": True, "data_parallel_size": 6, "options": {"enable-eplb": True}},
            ['128 do not divide over 6; add 4 to "num_redundant_experts" in eplb-config'],
        ),
        (
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            {
                "expert_parallel": True,
                "data_parallel_size": 6,
                "options": {"enable-eplb": True, "eplb-config": {"num_redundant_experts": 4}},
            },
            [],
        ),
        (
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            {"tensor_parallel_size": 4, "options": {"enable-eplb": True}},
            ["options.enable-eplb: needs enable-expert-parallel; add"],
        ),
        (
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            {"expert_parallel": True, "options": {"enable-eplb": True}},
            ["options.enable-eplb: balances experts over GPUs, and there is one; remove it"],
        ),
        ("nobody/knows-this", {"quantization": "awq", "max_model_len": 10**6}, []),
        # both met when they were started on a GPU
        (
            "meta-llama/Llama-3.1-405B-Instruct-FP8",
            {"tensor_parallel_size": 8},
            ["vLLM refuses meta-llama/Llama-3.1-405B-Instruct-FP8 without it: fbgemm_fp8 is deprecated; add it"],
        ),
        (
            "meta-llama/Llama-3.1-405B-Instruct-FP8",
            {"tensor_parallel_size": 8, "options": {"allow-deprecated-quantization": True}},
            [],
        ),
        (
            "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16",
            {},
            ["w4a16 has GPTQ groups in activation order (desc_act), which vLLM takes no more; use a checkpoint"],
        ),
    ],
)
def test_what_a_checkpoint_decides(model: str, values: dict[str, Any], said: list[str]) -> None:
    found = problems(model, **values)
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_deprecated_method_needs_its_own_option() -> None:
    found = [line for line in problems(quantization="fbgemm_fp8") if "deprecated" in line]
    assert found == [
        "services.chat.quantization: 'fbgemm_fp8' is deprecated and refused; use a checkpoint of another method"
    ]


def test_every_problem_at_once_and_each_once() -> None:
    found = problems(replicas=2, options={"swap-space": 4, "max-num-seqs": 0}, env={"VLLM_USE_V1": "1"})
    assert [line.split(":")[0] for line in found] == [
        "services.chat.env.VLLM_USE_V1",
        "services.chat.options.swap-space",
        "services.chat.options.max-num-seqs",
    ]


def test_nesting_without_end_is_a_problem_like_any_other() -> None:
    (found,) = of_command(f"vllm serve x --hf-overrides '{'{' * 100_000}'")
    assert found.problem.startswith("must be JSON, got '{{{{")
    assert of_command("vllm serve x --hf-overrides.a " + "[" * 100_000) == []


def test_an_unsupported_version() -> None:
    old = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1"])
    old = old.model_copy(update={"runtime": old.runtime.model_copy(update={"vllm": "0.11.0"})})
    fleet = example_fleet(services=[old])
    (found,) = check_fleet(fleet, place(fleet), {})
    assert str(found) == (
        "services.chat.runtime.vllm: there is no snapshot of vLLM 0.11.0; "
        "use 0.32 or 0.33, or make its snapshot with scripts/contract-snapshot"
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("vllm serve x --nnodes 2 --tensor-parallel-size 3", "f:1: --nnodes: 3 GPUs do not divide over 2 hosts"),
        ("vllm serve x --nnodes 2 --node-rank 2 -tp 2", "f:1: --node-rank: must be from 0 to 1, got 2"),
        ("vllm serve x --distributed-executor-backend mpi", "f:1: --distributed-executor-backend: 'mpi' is no"),
        ("vllm serve x --config options.toml", "f:1: --config: must be a YAML file, got 'options.toml'"),
        ("vllm serve x --kv-cache-dtype int8", "f:1: --kv-cache-dtype: vLLM 0.33 has no 'int8'"),
        ("vllm serve x --data-parallel-hybrid-lb --data-parallel-external-lb -dp 2",
         "f:1: --data-parallel-hybrid-lb: does not go with data-parallel-external-lb"),
        ("vllm serve x --data-parallel-rpc-port 99999", "f:1: --data-parallel-rpc-port: must be at least 1 and at"),
        ("vllm serve x --data-parallel-size-local 2",
         "f:1: --data-parallel-size-local: 2 is more than data-parallel-size (1)"),
        ("vllm serve meta-llama/Llama-3.1-8B-Instruct --enable-expert-parallel",
         "f:1: --enable-expert-parallel: meta-llama/Llama-3.1-8B-Instruct has no experts; remove it"),
        ("vllm serve x --port 99999", "f:1: --port: must be a port from 1 to 65535, got 99999"),
    ],
)  # fmt: skip
def test_what_only_a_command_can_say(command: str, said: str) -> None:
    (found,) = of_command(command)
    assert str(found).startswith(said)
