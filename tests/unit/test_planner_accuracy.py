"""The planner against what vLLM itself reported on H200s (docs/measurements, bench/memory_truth.py)."""

import statistics

import pytest

from bench.planner_accuracy import EARLIER, comparisons

MEASURED = list(comparisons())
MEASURED_EARLIER = {comparison.name: comparison for comparison in comparisons(EARLIER)}

# what vLLM 0.33 changed, and the plan follows: it profiles vision encoders in every runner, keeps three states of a
# linear layer for prefix caching, and counts the all-reduce's buffers
CHANGED_SINCE = ("gemma-3-4b", "gemma-3-12b", "gemma-3-27b", "qwen3-next")
# their layouts come from the weights, which the first measurement had not
WITHOUT_LAYOUT = ("llama-3.1-8b w4a16", "qwen2.5-7b gptq int4", "qwen2.5-7b gptq int8")


def test_many_architectures_were_measured():
    assert len(MEASURED) >= 60
    names = {comparison.measured["model"].split("/")[0] for comparison in MEASURED}
    assert {"meta-llama", "Qwen", "google", "openai", "deepseek-ai", "mistralai"} <= names


@pytest.mark.parametrize("comparison", MEASURED, ids=lambda comparison: comparison.name)
def test_kv_cache_tokens_are_within_3_percent_and_weights_within_1(comparison):
    assert comparison.tokens == pytest.approx(0, abs=0.03)
    assert comparison.weights == pytest.approx(0, abs=0.01)


def test_half_of_the_cases_are_much_closer():
    assert statistics.median(abs(comparison.tokens) for comparison in MEASURED) < 0.003


@pytest.mark.parametrize(
    "comparison",
    [each for each in MEASURED_EARLIER.values() if not each.name.startswith((*CHANGED_SINCE, *WITHOUT_LAYOUT))],
    ids=lambda comparison: comparison.name,
)
def test_vllm_0_26_differs_by_no_more_either(comparison):
    assert comparison.tokens == pytest.approx(0, abs=0.03)
    assert comparison.weights == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    "name, tokens",
    [
        ("llama-3.1-8b", 891_872),
        ("llama-3.1-8b batched 2048", 903_488),
        ("llama-3.1-8b fp8 kv", 1_783_248),
        ("qwen2.5-7b", 2_042_880),
        ("llama-3.1-8b tp 2", 1_919_504),
    ],
)
def test_the_first_measurements_were_met_again(name, tokens):
    """Five figures measured on another day and machine: the fixture has them to the token."""
    assert MEASURED_EARLIER[name].measured["kv_tokens"] == tokens
