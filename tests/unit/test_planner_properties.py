"""What must hold of every plan, whichever the model, the GPU and the settings."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tests.unit.models import content, shipped
from vllm_fleet.planner.catalogue import subject_of
from vllm_fleet.planner.fitting import SHORTEST_USEFUL, remedies
from vllm_fleet.planner.kv_cache import cache_layout
from vllm_fleet.planner.memory import Estimate, Subject, estimate
from vllm_fleet.planner.model_config import parse_model_config
from vllm_fleet.planner.quantization import ON_LOAD
from vllm_fleet.planner.report import summary
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.split import split_problems
from vllm_fleet.planner.weights import checkpoint_share
from vllm_fleet.schema.gpu import GPUS, Gpu

# one of each kind: dense, tied, windows, MoE, MLA, states, 4-bit
NAMES = [
    "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "mistralai/Mistral-7B-Instruct-v0.1",
    "google/gemma-3-12b-it", "openai/gpt-oss-20b", "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "deepseek-ai/DeepSeek-V2-Lite-Chat", "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "meta-llama/Llama-3.1-70B-Instruct",
]  # fmt: skip

models = st.sampled_from(NAMES).map(shipped)
cards = st.sampled_from([card for card in GPUS.values() if not card.unsupported])
plans = st.builds(
    Settings,
    gpu_memory_utilization=st.floats(0.3, 1),
    max_model_len=st.none() | st.integers(1, 32768),
    kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
    # vLLM's own choice grows with the card's memory, and with it what a step takes: see test_more_memory
    max_num_batched_tokens=st.sampled_from([512, 2048, 8192]),
    max_num_seqs=st.sampled_from([16, 256]),
    enforce_eager=st.booleans(),
)
some = effort(max_examples=20, deadline=None, derandomize=True)


@some
@given(models, cards, plans, st.integers(0, 2**38))
def test_more_memory_never_fits_fewer_tokens(subject, card, plan, more):
    larger = card.model_copy(update={"memory_bytes": card.memory_bytes + more})
    before, after = estimate(subject, plan, card), estimate(subject, plan, larger)
    assert after.kv_cache_tokens >= before.kv_cache_tokens
    assert after.fits >= before.fits


@some
@given(models, cards, plans, st.floats(0.3, 1))
def test_a_larger_share_of_the_memory_never_fits_fewer_tokens(subject, card, plan, other):
    less, more = sorted([plan.gpu_memory_utilization, other])
    before, after = (
        estimate(subject, replace(plan, gpu_memory_utilization=share), card).kv_cache_tokens for share in (less, more)
    )
    assert after >= before


@some
@given(models, cards, plans, st.sampled_from([(1, 2), (2, 4), (4, 8)]), st.booleans())
def test_tensor_parallelism_never_takes_more_of_a_gpu(subject, card, plan, sizes, expert_parallel):
    few, many = (replace(plan, tensor_parallel_size=size, enable_expert_parallel=expert_parallel) for size in sizes)
    assume(not split_problems(subject, few) and not split_problems(subject, many))
    before, after = estimate(subject, few, card), estimate(subject, many, card)
    assert after.tightest.weights <= before.tightest.weights
    assert after.needed_kv_cache <= before.needed_kv_cache


@some
@given(models, cards, plans, st.sampled_from([(1, 2), (2, 3), (2, 4), (4, 8)]))
def test_pipeline_parallelism_never_takes_more_of_a_gpu(subject, card, plan, sizes):
    before, after = (estimate(subject, replace(plan, pipeline_parallel_size=size), card) for size in sizes)
    assert max(each.weights for each in after.stages) <= max(each.weights for each in before.stages)
    assert widest_block(after) <= widest_block(before)


def widest_block(found: Estimate) -> int:
    """Bytes of a block on the GPUs of the stage that has most layers of one group."""
    layouts = [cache_layout(found.subject.model, each.layers, found.settings, 2) for each in found.stages]
    return max(each.block_bytes for each in layouts)


@some
@given(models, cards, plans, st.integers(1, 131072), st.integers(1, 131072))
def test_a_longer_context_never_raises_concurrency(subject, card, plan, one, other):
    shorter, longer = sorted([one, other])
    before, after = (estimate(subject, replace(plan, max_model_len=length), card) for length in (shorter, longer))
    assert after.max_concurrency <= before.max_concurrency
    assert after.fits <= before.fits


@some
@given(models, cards, plans)
def test_an_fp8_cache_never_holds_fewer_tokens(subject, card, plan):
    wide, narrow = (estimate(subject, replace(plan, kv_cache_dtype=dtype), card) for dtype in ("auto", "fp8"))
    assert narrow.kv_cache_tokens >= wide.kv_cache_tokens


@some
@given(models, st.sampled_from(sorted(ON_LOAD)), st.sampled_from([1, 2, 4]))
def test_quantizing_never_raises_weights(subject, method, size):
    assume(subject.quantization is None)
    plan = Settings(tensor_parallel_size=size)
    assert checkpoint_share(subject.model, ON_LOAD[method], plan, 0) < checkpoint_share(subject.model, None, plan, 0)


@some
@given(models, cards, plans)
def test_a_gpu_is_never_given_more_than_was_asked_for(subject, card, plan):
    found = estimate(subject, plan, card)
    for stage in found.stages:
        taken = sum(
            (stage.weights, stage.activation, stage.buffers, stage.non_torch, stage.cuda_graphs, stage.kv_cache)
        )
        assert abs(taken - card.memory_bytes * plan.gpu_memory_utilization) <= 1
    blocks = found.kv_cache_tokens / found.max_model_len * found.layout.blocks_per_request(found.max_model_len, 0)
    assert blocks * found.layout.block_bytes <= max(found.tightest.kv_cache, 0)


@effort(max_examples=6, deadline=None, derandomize=True)
@given(st.sampled_from(NAMES), cards, plans)
def test_a_plan_is_the_same_each_time(name, card, plan):
    def planned() -> str:
        return json.dumps(summary(estimate(subject_of(parse_model_config(content(name), name)), plan, card)))

    assert planned() == planned()


# ---- what makes it fit --------------------------------------------------------------------------------------------

LARGE = [
    "Qwen/Qwen2.5-32B-Instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1", "google/gemma-3-27b-it",
    "meta-llama/Llama-3.1-70B-Instruct", "openai/gpt-oss-120b", "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct",
]  # fmt: skip
SMALL = ["l4", "a10g", "rtx-4090", "a100-40gb", "l40s", "h100-sxm"]


def changed(before: Estimate, after: Estimate) -> list[dict[str, Any]]:
    """What sets two plans apart, by the kinds of changes: each is a list of fields of Settings, or the subject."""
    found: list[dict[str, Any]] = []
    for names in (
        ("max_model_len",),
        ("kv_cache_dtype",),
        ("quantization",),
        ("tensor_parallel_size", "pipeline_parallel_size"),
    ):
        if any(getattr(after.settings, name) != getattr(before.settings, name) for name in names):
            found.append({name: getattr(after.settings, name) for name in names})
    if after.subject != before.subject:
        found.append({"subject": after.subject})
    return found


def with_changes(before: Estimate, changes: tuple[dict[str, Any], ...]) -> Estimate:
    fields: dict[str, Any] = {name: value for change in changes for name, value in change.items()}
    subject: Subject = fields.pop("subject", before.subject)
    return estimate(subject, replace(before.settings, **fields), before.gpu)


@effort(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.sampled_from(LARGE), st.sampled_from(SMALL), st.sampled_from([None, 4096, 32768]), st.booleans())
@example("meta-llama/Llama-3.1-70B-Instruct", "rtx-4090", None, False)
@example("Qwen/Qwen2.5-32B-Instruct", "h100-sxm", None, False)
def test_remedies_fit_and_none_of_their_changes_is_idle(name, card, length, eager):
    subject, plan = shipped(name), Settings(max_model_len=length, enforce_eager=eager)
    found = estimate(subject, plan, GPUS[card])
    ways = remedies(found) if not found.fits else []
    for remedy in ways:
        made = remedy.estimate
        assert made.fits
        assert not split_problems(made.subject, made.settings)
        assert made.max_model_len >= SHORTEST_USEFUL
        changes = changed(found, made)
        assert len(changes) == len(remedy.changes)
        for fewer in combinations(changes, len(changes) - 1):
            assert not with_changes(found, fewer).fits
    assert len({len(remedy.changes) for remedy in ways}) <= 1
    assert len({remedy.changes for remedy in ways}) == len(ways)


@effort(max_examples=10, deadline=None, derandomize=True)
@given(st.sampled_from(NAMES), st.sampled_from(["h200", "b200", "h100-sxm"]))
def test_what_fits_has_no_remedies(name, card):
    found = estimate(shipped(name), Settings(max_model_len=4096), GPUS[card])
    assume(found.fits)
    assert summary(found)["remedies"] == []


def test_the_properties_are_tested_on_models_that_fit_and_on_some_that_do_not():
    def fitting(names: list[str], card: Gpu, plan: Settings) -> set[bool]:
        return {estimate(shipped(name), plan, card).fits for name in names}

    assert fitting(NAMES, GPUS["h200"], Settings(max_model_len=8192)) == {True, False}
    assert fitting(LARGE, GPUS["h100-sxm"], Settings()) == {True, False}
    assert fitting(LARGE[:-2], GPUS["l4"], Settings()) == {False}
