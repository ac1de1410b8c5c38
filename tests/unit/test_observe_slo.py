"""Recording rules: what is counted for each service, and how it becomes a burn rate."""

from __future__ import annotations

from tests.fleets import service
from vllm_fleet.observe.slo import Recording, recordings
from vllm_fleet.schema import Slo


def recorded(slo: Slo, name: str) -> dict[str, str]:
    chat = service("chat", "meta-llama/Llama-3.1-8B-Instruct", hosts=["gpu1"], slo=slo)
    return {each.labels["slo"]: each.query for each in recordings([chat]) if each.name == name}


def test_bad_events_are_those_beyond_the_services_own_thresholds() -> None:
    slo = Slo(ttft_seconds=1, itl_seconds=0.075)
    assert recorded(slo, "service:slo_bad_events:rate5m") == {
        "ttft": 'sum(rate(vllm:time_to_first_token_seconds_count{service="chat"}[5m])) - '
        'sum(rate(vllm:time_to_first_token_seconds_bucket{service="chat", le="1.0"}[5m]))',
        "itl": 'sum(rate(vllm:inter_token_latency_seconds_count{service="chat"}[5m])) - '
        'sum(rate(vllm:inter_token_latency_seconds_bucket{service="chat", le="0.075"}[5m]))',
        "errors": 'sum(rate(haproxy_backend_http_responses_total{proxy="chat", code="5xx"}[5m]))',
    }


def test_the_budget_is_what_the_objective_leaves() -> None:
    slo = Slo(ttft_objective=0.99, itl_objective=0.95, error_objective=0.9995)
    assert recorded(slo, "service:slo_budget:ratio") == {
        "ttft": "vector(0.01)",
        "itl": "vector(0.05)",
        "errors": "vector(0.0005)",
    }


def test_burn_rates_are_the_same_rule_for_all_services() -> None:
    budget = "service:slo_budget:ratio"
    bad, events = "service:slo_bad_events:rate5m", "service:slo_events:rate5m"
    of_windows = {each.name: each for each in recordings([]) if not each.labels}
    assert list(of_windows) == [f"service:slo_burn:rate{window}" for window in ("5m", "30m", "1h", "6h", "3d")]
    assert of_windows["service:slo_burn:rate5m"].query == f"{bad} / {events} / {budget}"
    assert of_windows["service:slo_burn:rate3d"] == Recording(
        "service:slo_burn:rate3d", f"sum_over_time({bad}[3d]) / sum_over_time({events}[3d]) / {budget}"
    )
