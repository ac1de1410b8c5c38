"""Cases of the watching itself."""

from __future__ import annotations

from tests.rules.cases.case import Case, counter, engine, fact, labels_of, series, up
from vllm_fleet.observe.used_metrics import used_metrics

_SENT = labels_of("prometheus", "edge1")
_ERRORS = series("prometheus_notifications_errors_total", _SENT | {"alertmanager": "http://10.0.0.10:9093/"})
_TOLD = labels_of("alertmanager", "edge1")
_FAILED = series("alertmanager_notifications_failed_total", _TOLD | {"integration": "webhook"})

_CHAT_0, _NODE, _NVML = up("vllm", "gpu1", "chat"), up("node", "gpu1"), up("nvml", "gpu1")
_LOOKED = fact("vllm_fleet_engine_facts_timestamp_seconds")
_CODER, _CODER_LOOKED = up("vllm", "gpu1", "coder"), fact("vllm_fleet_engine_facts_timestamp_seconds", service="coder")
_EXPOSED = {engine(name): "1x20" for name in used_metrics()}
_HOST = {
    series(name, labels_of("node", "gpu1")): "1x20"
    for name in (
        *("node_systemd_service_restart_total", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"),
        *("node_vmstat_oom_kill", "node_time_seconds"),
    )
}
_OF_GPU = labels_of("nvml", "gpu1") | {"gpu": "0", "uuid": "GPU-0"}
_GPUS = {_NVML: "1x20"} | {
    series(f"nvml_{name}", _OF_GPU): "1x20"
    for name in (
        *("up", "snapshot_age_seconds", "gpus_declared", "gpus_visible"),
        *("gpu_up", "pcie_link_width", "pcie_link_width_max"),
    )
}
_TARGET = labels_of("vllm", "gpu1", "chat")
_VANISHED = [_TARGET | {"metric": "vllm:kv_cache_usage_perc"}]


def _without(name: str, values: str = "_x20") -> dict[str, str]:
    return _EXPOSED | {_CHAT_0: "1x20", engine(name): values}


CASES = [
    Case("AlertPathFailing", "Prometheus cannot reach Alertmanager", {_ERRORS: f"0x3 {counter((20, 2))}"}, 10,
         [{"job": "prometheus", "host": "edge1"}]),
    Case("AlertPathFailing", "Alertmanager cannot reach a webhook", {_FAILED: counter((20, 1))}, 6,
         [{"job": "alertmanager", "host": "edge1"}]),
    Case("AlertPathFailing", "both cannot", {_ERRORS: counter((20, 1)), _FAILED: counter((20, 1))}, 6,
         [{"job": "prometheus", "host": "edge1"}, {"job": "alertmanager", "host": "edge1"}]),
    Case("AlertPathFailing", "one failure, then all is well", {_ERRORS: "0x3 1x20", _FAILED: "7x20"}, 12),
    Case("TargetDown", "a node exporter is gone, its host's GPUs are known", {_NODE: "1x2 0x9", _NVML: "1x11"}, 8,
         [labels_of("node", "gpu1")]),
    Case("TargetDown", "an Alertmanager is gone", {up("alertmanager", "edge1"): "0x9", up("node", "edge1"): "1x9"}, 5,
         [labels_of("alertmanager", "edge1")]),
    Case("TargetDown", "its host is gone", {_NODE: "0x9", _NVML: "0x9"}, 9),
    Case("TargetDown", "four minutes", {_NODE: "1x2 0x4 1x9", _NVML: "1x15"}, 10),
    Case("TargetDown", "those that have a page of their own", {_NODE: "1x9", _NVML: "0x9", _CHAT_0: "0x9",
         up("haproxy", "gpu1"): "0x9"}, 9),
    Case("MetricVanished", "an engine without one of them", _without("vllm:kv_cache_usage_perc"), 10, _VANISHED),
    Case("MetricVanished", "it was there before", _without("vllm:kv_cache_usage_perc", "1x2 stale _x17"), 13,
         _VANISHED),
    Case("MetricVanished", "a host with engines, whose exporter knows no units",
         {_CHAT_0: "0x20", _NODE: "1x20", **_HOST}, 10,
         [labels_of("node", "gpu1") | {"metric": "node_systemd_unit_state"}]),
    Case("MetricVanished", "a GPU exporter without one", _GPUS | {series("nvml_pcie_link_width", _OF_GPU): "_x20"}, 10,
         [labels_of("nvml", "gpu1") | {"metric": "nvml_pcie_link_width"}]),
    Case("MetricVanished", "a GPU without NVLink, ECC and XIDs", _GPUS, 20),
    Case("MetricVanished", "GPUs that are lost", {_NVML: "1x20", series("nvml_gpu_up", _OF_GPU): "0x20"}, 20),
    Case("MetricVanished", "a host without engines", {_NODE: "1x20", **_HOST}, 20),
    Case("MetricVanished", "all is there", _EXPOSED | {_CHAT_0: "1x20"}, 20),
    Case("MetricVanished", "the engine is down", {_CHAT_0: "0x20"}, 20),
    Case("MetricVanished", "it comes back within ten minutes", _without("vllm:kv_cache_usage_perc", "_x7 1x12"), 20),
    Case("EngineFactsStale", "the program stands still", {_CHAT_0: "1x30", _LOOKED: "0+60x5 300x25"}, 12,
         [{"host": "gpu1"}]),
    Case("EngineFactsStale", "its file is gone", {_CHAT_0: "1x30", _LOOKED: "0+60x5 stale _x25"}, 11,
         [{"host": "gpu1"}]),
    Case("EngineFactsStale", "one of two engines is no longer looked at", {_CHAT_0: "1x30", _LOOKED: "0+60x30",
         _CODER: "1x30", _CODER_LOOKED: "0+60x5 300x25"}, 12, [{"host": "gpu1"}]),
    Case("EngineFactsStale", "all is well", {_CHAT_0: "1x30", _LOOKED: "0+60x30"}, 25),
    Case("EngineFactsStale", "it starts again", {_CHAT_0: "1x30", _LOOKED: "0+60x5 stale _ _ 540+60x20"}, 25),
    Case("EngineFactsStale", "a host without engines", {_NODE: "1x30"}, 25),
    Case("Watchdog", "with nothing else there", {}, 0, [{}]),
]  # fmt: skip
