"""Ceilings of speed, against numbers worked out by hand from the card's data sheet."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models import COUNTED, shipped, small
from vllm_fleet.planner.memory import Subject
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.speed import Ceilings, ceilings
from vllm_fleet.schema.gpu import gpu

BANDWIDTH, FLOPS = 4800e9, 989.5e12  # H200
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
READ = 2 * (COUNTED[LLAMA]["linear"] + COUNTED[LLAMA]["lm_head"])
"""Bytes that each step reads: all matrices and the head; of the embedding, one row."""
LAYERS = 2 * COUNTED[LLAMA]["linear"]
"""Bytes of what every token of a prompt meets: the head is for the last one alone."""


def of(subject: Subject, card: str = "h200", concurrency: float = 1.0, cache: int = 0, **settings: Any) -> Ceilings:
    return ceilings(subject.model, subject.quantization, Settings(**settings), gpu(card), concurrency, cache)


def test_one_stream_reads_every_weight_once_a_token():
    assert of(shipped(LLAMA)).decode == pytest.approx(BANDWIDTH / READ, rel=1e-6) == pytest.approx(320, rel=0.01)


def test_prefill_computes_two_operations_a_weight():
    expected = FLOPS / LAYERS  # half as many weights as bytes, twice as many operations
    assert of(shipped(LLAMA)).prefill == pytest.approx(expected, rel=1e-6) == pytest.approx(70_900, rel=0.01)


def test_a_full_batch_shares_the_weights_and_reads_all_caches():
    cache = 100 * 2**30
    found = of(shipped(LLAMA), concurrency=100.5, cache=cache)
    assert found.streams == 100
    assert found.decode_full == pytest.approx(100 * BANDWIDTH / (READ + cache * 100 / 100.5), rel=1e-6)


def test_sequences_bound_the_batch():
    cache = 100 * 2**30
    found = of(shipped(LLAMA), concurrency=100.0, cache=cache, max_num_seqs=10)
    assert found.streams == 10
    assert found.decode_full == pytest.approx(10 * BANDWIDTH / (READ + cache / 10), rel=1e-6)


def test_a_full_batch_cannot_compute_faster_than_prefill():
    found = of(shipped(LLAMA), concurrency=1000.0, cache=0)
    assert found.decode_full == pytest.approx(FLOPS / READ, rel=1e-6)  # here each token meets the head too
    assert found.decode_full < found.prefill


def test_no_room_for_a_request_leaves_one_stream():
    found = of(shipped(LLAMA), concurrency=0.0)
    assert (found.streams, found.decode_full) == (1, found.decode)


@pytest.mark.parametrize(
    "settings, decode, prefill",
    [
        ({"tensor_parallel_size": 4}, 4, 4),
        ({"pipeline_parallel_size": 4}, 1, 4),  # for one stream the stages take turns
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 2, 4),
    ],
)
def test_more_gpus(settings, decode, prefill):
    alone, many = of(shipped(LLAMA)), of(shipped(LLAMA), **settings)
    assert many.decode == pytest.approx(decode * alone.decode)
    assert many.prefill == pytest.approx(prefill * alone.prefill)


# A model of experts: 4 layers, 8 experts of 3 x 128 x 64 in each, of which a token meets 2.
EXPERT = 3 * 128 * 64
ATTENTION = 2 * 128 * 128 + 2 * 128 * 64
ROUTER = 128 * 8
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "vocab_size": 1024}


def test_one_stream_reads_only_the_experts_it_meets():
    read = 2 * (4 * (ATTENTION + ROUTER + 2 * EXPERT) + 1024 * 128)
    assert of(small(**EXPERTS)).decode == pytest.approx(BANDWIDTH / read, rel=1e-6)
    assert of(small(**EXPERTS)).prefill == pytest.approx(FLOPS / (read - 2 * 1024 * 128), rel=1e-6)


def test_more_streams_meet_more_experts():
    met = 8 * (1 - (3 / 4) ** 4)  # four tokens, each of which leaves an expert out with 3 in 4
    read = 2 * (4 * (ATTENTION + ROUTER + met * EXPERT) + 1024 * 128)
    found = of(small(**EXPERTS), concurrency=4.0)
    assert found.decode_full == pytest.approx(4 * BANDWIDTH / read, rel=1e-6)


def test_data_parallel_ranks_of_a_dense_model_work_side_by_side():
    cache = 100 * 2**30
    alone = of(shipped(LLAMA), concurrency=100.5, cache=cache)
    four = of(shipped(LLAMA), concurrency=100.5, cache=cache, data_parallel_size=4)
    assert four.decode == alone.decode
    assert four.streams == 4 * alone.streams
    assert four.decode_full == pytest.approx(4 * alone.decode_full)
    assert four.prefill == pytest.approx(4 * alone.prefill)


def test_data_parallel_ranks_read_their_own_attention_and_share_the_experts():
    own = 2 * (4 * (ATTENTION + ROUTER) + 1024 * 128)
    found = of(small(**EXPERTS), concurrency=2.0, data_parallel_size=2)
    assert found.decode == pytest.approx(BANDWIDTH / (own + 2 * 4 * 2 * EXPERT / 2), rel=1e-6)
    met = 8 * (1 - (3 / 4) ** 4)  # by the two streams of each rank
    assert found.decode_full == pytest.approx(4 * BANDWIDTH / (own + 2 * 4 * met * EXPERT / 2), rel=1e-6)
    assert found.streams == 4


def test_mixtral_decodes_like_its_13_billion_active_parameters():
    found = of(shipped("mistralai/Mixtral-8x7B-Instruct-v0.1"))
    assert found.decode == pytest.approx(BANDWIDTH / (2 * 12.75e9), rel=0.01)


@pytest.mark.parametrize(
    "name, card, kind",
    [
        (LLAMA, "a100-80gb", "bf16"),
        (LLAMA, "t4", "fp16"),  # which has no bf16
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", "h200", "fp8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", "a100-80gb", "bf16"),  # expanded first: no FP8 there
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "a100-80gb", "int8"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "h200", "fp16"),  # weights only
    ],
)
def test_prefill_runs_in_the_type_of_the_format(name, card, kind):
    expected = gpu(card).flops[kind] / LAYERS
    assert of(shipped(name), card).prefill == pytest.approx(expected, rel=1e-6)


def test_quantized_weights_are_read_faster():
    plain = of(shipped(LLAMA)).decode
    assert 1.7 < of(shipped("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")).decode / plain < 2
    assert 2.5 < of(shipped("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4")).decode / plain < 4


def test_the_measured_8b_stays_below_its_ceiling():
    # one H200, one stream: 4.86 ms a token measured, in bf16 (docs/performance.md)
    assert 1000 / of(shipped(LLAMA)).decode == pytest.approx(3.13, rel=0.01)
