"""What the bundle itself writes passes, for every supported version: command lines, environments, metrics."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.fleets import example_fleet, service
from tests.unit.contract import VERSIONS, snapshot
from vllm_fleet.engine.contract import SUPPORTED, check_deploy, check_fleet, environment, find_snapshot, metrics
from vllm_fleet.engine.environment import environment as environment_of
from vllm_fleet.observe.alerts import ALERTS, Alert
from vllm_fleet.observe.used_metrics import used_metrics
from vllm_fleet.planner import place
from vllm_fleet.schema import Fleet

ROOT = Path(__file__).parents[2]


def fleets() -> list[Fleet]:
    examples = [runpy.run_path(str(ROOT / "group_data" / f"{name}.py"))["fleet"] for name in ("prod", "single")]
    cpu = [one.model_copy(update={"device": "cpu"}) for one in example_fleet().services[:2]]
    with_ray = [one.model_copy(update={"executor": "ray"}) for one in example_fleet().services if one.nodes > 1]
    return [*examples, example_fleet(), example_fleet(services=cpu), example_fleet(services=with_ray)]


def with_version(fleet: Fleet, version: str) -> Fleet:
    services = [
        one.model_copy(update={"runtime": one.runtime.model_copy(update={"vllm": version})}) for one in fleet.services
    ]
    return fleet.model_copy(update={"services": services})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fleet", fleets(), ids=["prod", "single", "example", "cpu", "ray"])
def test_examples_have_no_problem(fleet: Fleet, version: str) -> None:
    fleet = with_version(fleet, version)
    assert check_fleet(fleet, place(fleet), used_metrics()) == []


EXPERTS = "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"tensor_parallel_size": 8},
        {"tensor_parallel_size": 4, "data_parallel_size": 2},
        {"nodes": 2, "data_parallel_size": 16},
        {"nodes": 2, "tensor_parallel_size": 4, "pipeline_parallel_size": 2, "data_parallel_size": 2},
        {"nodes": 2, "tensor_parallel_size": 8, "pipeline_parallel_size": 2},
    ],
)
def test_every_split_of_experts_is_taken(sizes: dict[str, Any], version: str) -> None:
    options = {"all2all-backend": "deepep_high_throughput", "enable-eplb": True, "api-server-count": 4}
    values = {"expert_parallel": True, "max_model_len": 32768, "options": options, **sizes}
    chosen = service("moe", EXPERTS, hosts=["gpu1", "gpu2"], **values)
    hosts = [host.model_copy(update={"infiniband": "mlx5_0"} if host.gpus else {}) for host in example_fleet().hosts]
    fleet = with_version(example_fleet(services=[chosen], hosts=hosts), version)
    placements = place(fleet)
    assert len(placements) == chosen.nodes
    assert check_deploy(fleet, placements, used_metrics()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_variable_of_ours_is_read_by_vllm(version: str) -> None:
    for fleet in fleets():
        for placement in place(fleet):
            assert list(environment.check(snapshot(version), environment_of(placement), "")) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_metric_of_ours_is_exposed(version: str) -> None:
    used = used_metrics()
    assert used["vllm:kv_cache_usage_perc"].startswith("alerts.KvCache")
    assert used["vllm:inter_token_latency_seconds_bucket"] == "slo.itl"  # asked for by a recording only
    assert list(metrics.check(snapshot(version), used)) == []


def test_a_metric_that_is_not_there_names_its_alert() -> None:
    alert = Alert(**{**vars(ALERTS[0]), "name": "Old", "query": "avg(vllm:gpu_cache_usage_perc)"})
    (problem,) = metrics.check(snapshot(), used_metrics([alert]))
    assert str(problem) == ("alerts.Old: vLLM 0.33 exposes no vllm:gpu_cache_usage_perc; use vllm:kv_cache_usage_perc")


def test_a_counter_is_exposed_with_its_suffix_only() -> None:
    known = metrics.series(snapshot())
    assert {
        "vllm:num_preemptions_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:iteration_tokens_total_sum",
    } <= known
    assert not {"vllm:num_preemptions", "vllm:time_to_first_token_seconds", "vllm:num_requests_running_total"} & known


def test_versions() -> None:
    assert SUPPORTED == ["0.32", "0.33"]
    assert find_snapshot("0.33.1") is find_snapshot("0.33")
    assert find_snapshot("0.9") is find_snapshot("") is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_snapshot_is_whole(version: str) -> None:
    known = snapshot(version)
    assert len(known.options) > 300
    assert len(known.environment) > 300
    assert {kind.cls for kind in known.options.values() if kind.type == "object"} <= set(known.classes)
    assert (known.quantization["awq"].capability, known.quantization["fp8"].capability) == (75, 75)
    assert "LlamaForCausalLM" in known.architectures["generate"]
    assert known.options["mm-processor-device"].choices == ("auto", "cpu", "cuda")  # on CUDA, not on CPU
