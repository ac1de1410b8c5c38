"""Cases of services as a whole."""

from __future__ import annotations

from tests.rules.cases.case import Case, counter, engine, labels_of, series, up

CHAT_0, CHAT_1, CODER = up("vllm", "gpu1", "chat", 0), up("vllm", "gpu2", "chat", 1), up("vllm", "gpu2", "coder", 0)
CHAT = [{"service": "chat"}]
_GATEWAY, _ITS_HOST = up("haproxy", "edge1"), up("node", "edge1")

_STOPPED, _CUT = (engine("vllm:request_success_total", finished_reason=reason) for reason in ("stop", "length"))
_ABORTED = engine("vllm:request_success_total", finished_reason="abort")
_ROUTE = {"handler": "/v1/chat/completions", "method": "POST"}
_OK = engine("http_requests_total", status="2xx", **_ROUTE)
_BAD = engine("http_requests_total", status="4xx", **_ROUTE)
_MODELS = engine("http_requests_total", status="2xx", handler="/v1/models", method="GET")

_LEAF = labels_of("node", "edge1") | {"certificate": "llm.example.net"}
_EXPIRY = series("vllm_fleet_certificate_expiry_timestamp_seconds", _LEAF)
_DAYS_14 = 14 * 86400

CASES = [
    Case("VllmServiceDown", "both replicas are gone", {CHAT_0: "1 0x9", CHAT_1: "1 0x9", CODER: "1x9"}, 2, CHAT),
    Case("VllmServiceDown", "one replica still answers", {CHAT_0: "0x9", CHAT_1: "1x9"}, 9),
    Case("VllmServiceDown", "down for less than a minute", {CHAT_0: "1x3 0 1x5"}, 5),
    Case("GatewayDown", "haproxy is gone", {_GATEWAY: "1x2 0x9", _ITS_HOST: "1x11"}, 4,
         [labels_of("haproxy", "edge1")]),
    Case("GatewayDown", "its host is gone", {_GATEWAY: "1x2 0x9", _ITS_HOST: "1x2 0x9"}, 11),
    Case("GatewayDown", "a restart", {_GATEWAY: "1x2 0 1x9", _ITS_HOST: "1x11"}, 5),
    Case("VllmReplicasMissing", "one of two is gone for a quarter of an hour",
         {CHAT_0: "1x2 0x20", CHAT_1: "1x22", CODER: "1x22"}, 18, CHAT),
    Case("VllmReplicasMissing", "back after 14 minutes", {CHAT_0: "1x2 0x13 1x9", CHAT_1: "1x25"}, 20),
    Case("ClientAborts", "one in eight is left", {_OK: counter((30, 8)), _STOPPED: counter((30, 6)),
         _CUT: counter((30, 1))}, 12, CHAT),
    Case("ClientAborts", "the same, and the engine counts them", {_OK: counter((30, 8)), _STOPPED: counter((30, 7)),
         _ABORTED: counter((30, 1))}, 12, CHAT),
    Case("ClientAborts", "one in twelve is left", {_OK: counter((30, 12)), _STOPPED: counter((30, 11))}, 30),
    Case("ClientAborts", "others are refused, or ask for the models",
         {_OK: counter((30, 10)), _STOPPED: counter((30, 10)), _BAD: counter((30, 10)), _MODELS: counter((30, 10))},
         30),
    Case("CertExpiring", "less than 14 days are left", {_EXPIRY: f"{_DAYS_14 + 300}x20"}, 6, [_LEAF]),
    Case("CertExpiring", "it has expired", {_EXPIRY: "0x20"}, 0, [_LEAF]),
    Case("CertExpiring", "14 days and a minute are left", {_EXPIRY: f"{_DAYS_14 + 660}x20"}, 10),
    Case("CertExpiring", "a new one came in time", {_EXPIRY: f"{_DAYS_14 + 300}x4 {90 * 86400}x20"}, 20),
    Case("ClientAborts", "one of a few", {_OK: counter((30, 0.5)), _STOPPED: counter((30, 0.4))}, 30),
]  # fmt: skip
