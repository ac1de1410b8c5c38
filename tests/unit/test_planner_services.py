"""Every service of a fleet, sized for the GPUs it was placed on; or the reason why it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.models import shipped, small_config
from tests.unit.test_schema import OPS_1, fleet, service
from vllm_fleet.planner import place
from vllm_fleet.planner.fitting import remedies
from vllm_fleet.planner.memory import estimate
from vllm_fleet.planner.services import Sizing, certain_problems, sizings
from vllm_fleet.planner.settings import Settings
from vllm_fleet.schema import Archive, ConfigError, Host, Hub
from vllm_fleet.schema.gpu import gpu

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
UNKNOWN = Archive(name="own-model", path="m.tar", sha256="0" * 64)


def node(number: int, card: str | None) -> Host:
    return Host(name=f"gpu-{number}", address=f"10.0.1.{number}", groups=("gpu",), gpus=8, gpu=card, interface="eth1")


def hub(name: str) -> Hub:
    return Hub(name=name, revision="a" * 40)


def sized(*cards: str | None, **changes: Any) -> Sizing:
    hosts = [node(number, card) for number, card in enumerate(cards, 1)]
    made = fleet(service(hosts=[host.name for host in hosts], **changes), hosts=[*hosts, OPS_1])
    (only,) = sizings(made, place(made))
    return only


def test_a_service_is_sized_with_its_own_settings():
    found = sized(
        "h100-sxm", tensor_parallel_size=2, max_model_len=8192, options={"max-num-batched-tokens": 4096}
    ).found
    assert found is not None
    settings = Settings(tensor_parallel_size=2, max_model_len=8192, max_num_batched_tokens=4096)
    assert found == estimate(shipped(LLAMA), settings, gpu("h100-sxm"))


@pytest.mark.parametrize(
    "options, changes",
    [
        ({"max-num-seqs": 8}, {"max_num_seqs": 8}),
        ({"enforce-eager": True}, {"enforce_eager": True}),
        ({"kv-cache-memory-bytes": 10**9}, {"kv_cache_memory_bytes": 10**9}),
        # what is no number is the contract's to refuse
        ({"max-num-seqs": "many"}, {}),
        ({"max-num-seqs": -1}, {}),
        ({"max-num-seqs": True}, {}),
    ],
)
def test_options_that_matter_for_memory_are_heeded(options, changes):
    found = sized("h100-sxm", options=options).found
    assert found is not None
    assert found.settings == Settings(**changes)


def test_data_parallel_ranks_over_hosts_are_sized_as_one_replica():
    hosts = [Host(**{**vars(node(number, "h200")), "infiniband": "mlx5_0"}) for number in (1, 2)]
    moe = service(
        model=hub("deepseek-ai/DeepSeek-V3"), hosts=["gpu-1", "gpu-2"], nodes=2, data_parallel_size=16,
        expert_parallel=True, max_model_len=16384,
    )  # fmt: skip
    made = fleet(moe, hosts=[*hosts, OPS_1])
    (only,) = sizings(made, place(made))
    assert only.found is not None
    assert only.found.settings == Settings(data_parallel_size=16, enable_expert_parallel=True, max_model_len=16384)
    assert (only.problems, only.found.fits) == ([], True)


@pytest.mark.parametrize("cards", [("h100-sxm", "l4"), ("l4", "h100-sxm")])
def test_the_smallest_gpu_counts(cards):
    found = sized(*cards, replicas=2, max_model_len=4096).found
    assert found is not None
    assert found.gpu is gpu("l4")


def test_the_smallest_gpu_of_a_replica_over_two_hosts_counts():
    found = sized("h100-sxm", "a100-80gb", nodes=2, pipeline_parallel_size=2).found
    assert found is not None
    assert found.gpu is gpu("h100-sxm")  # 79.18 GiB; the A100 has 79.25


@pytest.mark.parametrize(
    "cards, changes, reason",
    [
        (("h100-sxm",), {"device": "cpu"}, "not sized: runs on CPU, where VLLM_CPU_KVCACHE_SPACE sets the KV cache"),
        ((None,), {}, "not sized: its hosts do not say what their GPUs are (gpu in the inventory)"),
        (("l4", None), {"replicas": 2}, "not sized: its hosts do not say what their GPUs are (gpu in the inventory)"),
        (
            ("l4",),
            {"model": UNKNOWN},
            "not sized: own-model is not in the catalogue; give its config.json (model=...(config=...))",
        ),
    ],
)
def test_what_cannot_be_sized_says_why(cards, changes, reason):
    found = sized(*cards, **changes)
    assert found.found is None
    assert found.reasons[-1] == reason
    assert found.problems == found.certain == []


def test_a_declared_configuration_is_enough(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(small_config()))
    found = sized("l4", model=UNKNOWN.model_copy(update={"config": str(path)})).found
    assert found is not None
    assert found.subject.model.name == "own-model"
    assert found.fits


@pytest.mark.parametrize("content", [small_config(model_type="mamba2"), small_config(is_encoder_decoder=True)])
def test_a_declared_configuration_of_a_kind_without_sizes_is_not_sized(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    found = sized("l4", model=UNKNOWN.model_copy(update={"config": str(path)}))
    assert found.found is None
    assert found.reasons[-1].startswith("not sized: own-model.")
    assert found.problems == []


@pytest.mark.parametrize("content", ["", "[]"])
def test_a_declared_configuration_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"^(.*config\.json|own-model(\.\w+)?): .+; .+$"):
        sized("l4", model=UNKNOWN.model_copy(update={"config": str(path)}))


def test_contradictions_are_found_before_sizes():
    found = sized("h100-sxm", max_model_len=200_000, quantization="awq")
    assert [str(each) for each in found.problems] == [
        f"services.chat.max_model_len: 200000 is more than the 131072 of {LLAMA}; use 131072 or less",
        f"services.chat.quantization: 'awq' needs a checkpoint of it, and {LLAMA} is not quantized; remove it, "
        "or use fp8_per_tensor",
    ]
    assert found.certain == found.problems


def test_a_quantization_that_the_checkpoint_has_may_be_named():
    awq = hub("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4")
    assert sized("l4", model=awq, quantization="awq_marlin", max_model_len=8192).problems == []
    (problem,) = sized("l4", model=awq, quantization="fp8", max_model_len=8192).problems
    assert str(problem) == (
        "services.chat.quantization: 'fp8', but the checkpoint is awq; leave it out: the checkpoint says so itself"
    )


def test_a_model_too_large_names_what_makes_it_fit():
    found = sized("l4", model=hub("meta-llama/Llama-3.1-70B-Instruct"))
    (problem,) = found.problems
    assert problem.path == "services.chat.model"
    assert "which leaves no KV cache" in problem.problem
    assert problem.fix.startswith("use ")
    assert found.certain == found.problems


def test_a_context_too_long_names_the_one_that_fits():
    found = sized("l4")  # 131072 tokens need 16 GiB beside 15 GiB of weights
    (problem,) = found.problems
    assert problem.path == "services.chat.max_model_len"
    assert problem.problem.startswith("one request of 131072 tokens needs 16.0 GiB of KV cache a GPU, ")
    assert problem.fix.startswith("use max_model_len=")
    assert found.certain == found.problems


def test_what_misses_by_less_than_the_planners_error_does_not_stop_a_deploy():
    close = next(
        each
        for share in range(86, 100)
        if (each := sized("l4", max_model_len=32768, gpu_memory_utilization=share / 100)).problems
        and sized("l4", max_model_len=32768, gpu_memory_utilization=(share + 1) / 100).problems == []
    )
    assert close.misfit is not None
    assert close.certain == []


def test_a_draft_model_takes_its_share():
    speculative = {"method": "draft_model", "model": "meta-llama/Llama-3.2-1B-Instruct", "num_speculative_tokens": 3}
    alone, both = sized("h100-sxm"), sized("h100-sxm", options={"speculative-config": speculative})
    assert alone.found is not None
    assert both.found is not None
    assert both.found.tightest.weights - alone.found.tightest.weights > 2 * 10**9
    assert both.found.kv_cache_tokens < 0.9 * alone.found.kv_cache_tokens
    assert both.reasons[-1].endswith("Llama-3.2-1B-Instruct: its weights and KV cache are counted")


def test_a_draft_model_that_nobody_knows_is_left_out_and_said_to_be():
    found = sized("h100-sxm", options={"speculative-config": {"model": "own/draft", "num_speculative_tokens": 3}})
    assert found.reasons[-1] == "draft model own/draft: not in the catalogue, not counted"
    assert found.found is not None
    assert found.found.subject.draft is None


def test_a_draft_model_stays_with_every_remedy():
    speculative = {"model": "meta-llama/Llama-3.2-1B-Instruct", "num_speculative_tokens": 3}
    found = sized(
        "a100-40gb", model=hub("Qwen/Qwen2.5-32B-Instruct"), options={"speculative-config": speculative}
    ).found
    assert found is not None
    assert not found.fits
    drafts = [each.estimate.subject.draft for each in remedies(found)]
    assert drafts
    assert all(draft is not None for draft in drafts)


def test_tensor_parallelism_over_a_slow_network_stops_a_deploy():
    hosts = [node(1, "h100-sxm"), node(2, "h100-sxm")]
    made = fleet(service(hosts=["gpu-1", "gpu-2"], nodes=2, tensor_parallel_size=16), hosts=[*hosts, OPS_1])
    (problem,) = certain_problems(made, place(made))
    assert problem.path == "services.chat.tensor_parallel_size"
