"""Cases of waiting and refused requests."""

from __future__ import annotations

from tests.rules.cases.case import ENGINE, Case, counter, engine, labels_of, series

_WAITING = engine("vllm:num_requests_waiting")
_REJECTED = series(
    "vllm:admission_rejections_total",
    labels_of("vllm", "gpu1", "chat") | {"model_name": "m", "reason": "max_num_queued_reqs"},
)
_CHAT = [{"service": "chat"}]


def _queue_time(quick: float, slow: float, very_slow: float) -> dict[str, str]:
    """Requests a minute that wait up to 2.5 s, up to 5 s and up to 10 s."""
    counts = {"2.5": quick, "5.0": quick + slow, "10.0": quick + slow + very_slow, "+Inf": quick + slow + very_slow}
    return {engine("vllm:request_queue_time_seconds_bucket", le=le): counter((30, n)) for le, n in counts.items()}


def _answers(backend: float, server: float, code: str = "5xx") -> dict[str, str]:
    """Answers a minute that clients of chat got, and those of them that came from an engine."""
    labels = labels_of("haproxy", "edge1") | {"proxy": "chat", "code": code}
    return {
        series("haproxy_backend_http_responses_total", labels): counter((20, backend)),
        series("haproxy_server_http_responses_total", labels | {"server": "chat-0"}): counter((20, server)),
    }


CASES = [
    Case("QueueGrowing", "one more a minute", {_WAITING: "0+1x60"}, 31, [ENGINE]),
    Case("QueueGrowing", "20 wait, and it grows no more", {_WAITING: "0+1x20 20x40"}, 50),
    Case("QueueGrowing", "long, but becoming shorter", {_WAITING: "90-1x60"}, 50),
    Case("QueueTimeHigh", "one in ten waits up to 10 s", _queue_time(90, 0, 10), 11, _CHAT),
    Case("QueueTimeHigh", "one in fifty does", _queue_time(98, 0, 2), 30),
    Case("QueueTimeHigh", "one in ten waits up to 5 s", _queue_time(90, 10, 0), 30),
    Case("QueueTimeHigh", "nobody asks", _queue_time(0, 0, 0), 30),
    Case("AdmissionRejections", "an engine's queue is full", {_REJECTED: counter((20, 2))}, 7, _CHAT),
    Case("AdmissionRejections", "the gateway has no engine to ask", _answers(6, 0), 6, _CHAT),
    Case("AdmissionRejections", "an engine answers 5xx", _answers(6, 6), 20),
    Case("AdmissionRejections", "the gateway refuses what clients do wrong", _answers(6, 0, code="4xx"), 20),
    Case("AdmissionRejections", "two in an hour", {_REJECTED: "0x10 2x50"}, 20),
]  # fmt: skip
