"""What a user of the fleet sees: answers, refusals, metrics."""

import json
import socket

import httpx
import pytest

pytestmark = pytest.mark.lab


def test_a_chat_completion_streams_token_by_token(lab):
    body = {
        "model": "tiny-llama",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 600,
        "stream": True,
        "ignore_eos": True,
    }
    url, headers = f"{lab.gateway}/v1/chat/completions", {"Authorization": f"Bearer {lab.key}"}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60, verify=lab.trusted) as answer:
        assert answer.status_code == 200
        reads = [piece for piece in answer.iter_raw() if piece]
    events = [line[6:] for line in b"".join(reads).decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0] for event in events[:-1] if json.loads(event)["choices"]]
    assert deltas[-1]["finish_reason"] == "length"
    # unbuffered: the answer came in many pieces, not as one
    assert len(reads) >= 8


@pytest.mark.parametrize("model", ["tiny-llama", "tiny-llama-batch"])
def test_each_service_answers_by_its_models_name(lab, model):
    answer = lab.complete(model)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_the_key_nothing_passes(lab, key):
    for path in ("/v1/completions", "/v1/models", "/invocations"):
        answer = lab.post(path, key=key, model="tiny-llama", prompt="Hi")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path", ["/invocations", "/metrics", "/tokenize", "/docs", "/version", "/v1/load_lora_adapter"]
)
def test_with_the_key_other_routes_do_not_pass(lab, path):
    assert lab.post(path, model="tiny-llama", prompt="Hi").status_code == 404


def test_an_engine_is_out_of_reach_for_who_is_not_its_peer(lab):
    """Another GPU host would be one here: a model spans both. This machine is none."""
    engine = next(placement for placement in lab.placements if placement.host.name == "gpu-1")
    script = f'python3 -c "import socket; socket.create_connection((\\"{engine.host.address}\\", {engine.port}), 3)"'
    assert lab.ssh("ops-1", script + " && echo reached") == "reached"
    with pytest.raises(TimeoutError):
        socket.create_connection((engine.host.address, engine.port), 3)


def test_prometheus_has_the_kv_cache_of_every_replica_and_its_alert(lab):
    series = lab.query("vllm:kv_cache_usage_perc")
    seen = {(item["metric"]["service"], item["metric"]["host"]) for item in series}
    assert seen == {(placement.service.name, placement.host.name) for placement in lab.placements if placement.head}
    rules = httpx.get(f"{lab.prometheus}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert "KvCacheHigh" in {rule["name"] for group in rules for rule in group["rules"]}
