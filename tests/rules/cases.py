"""Series in, alerts out: for each alert at least one case that fires and one that stays silent.

The Watchdog never is silent: that is its use.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One run of one alert's rule under promtool, with samples a minute apart."""

    alert: str
    what: str
    series: dict[str, str]
    """Series to values in promtool's notation: `0+0x9` is ten zeros, `_` a missing sample."""
    at: str
    """When to look, after the first sample."""
    fires: list[dict[str, str]] = field(default_factory=list)
    """The labels of each alert that fires, besides name and severity; none means silence."""


def up(job: str, host: str, service: str | None = None, replica: int = 0) -> str:
    """The `up` series of one of our targets."""
    engine = f', service="{service}", replica="{replica}"' if service else ""
    return f'up{{job="{job}", host="{host}", instance="{host}:1"{engine}}}'


CHAT_0, CHAT_1, CODER = up("vllm", "gpu1", "chat", 0), up("vllm", "gpu2", "chat", 1), up("vllm", "gpu2", "coder", 0)
NODE_1, NODE_2 = up("node", "gpu1"), up("node", "gpu2")
_KV_LABELS = {"job": "vllm", "host": "gpu1", "service": "chat", "replica": "0", "engine": "0", "model_name": "m"}
KV = "vllm:kv_cache_usage_perc{" + ", ".join(f'{name}="{value}"' for name, value in _KV_LABELS.items()) + "}"

UNIT_LABELS = {"job": "node", "host": "gpu1", "instance": "gpu1:1", "name": "vllm-large.service", "state": "failed"}
UNIT = "node_systemd_unit_state{" + ", ".join(f'{name}="{value}"' for name, value in UNIT_LABELS.items()) + "}"

CASES = [
    Case("HostDown", "everything on a host is gone", {NODE_1: "1x2 0x9", CHAT_0: "1x2 0x9", NODE_2: "1x9"}, "5m",
         [{"host": "gpu1"}]),
    Case("HostDown", "only the exporter is gone", {NODE_1: "0x9", CHAT_0: "1x9"}, "9m"),
    Case("HostDown", "a single failed scrape", {NODE_1: "1 0 1x9", CHAT_0: "1 0 1x9"}, "1m"),
    Case("VllmServiceDown", "both replicas are gone", {CHAT_0: "1 0x9", CHAT_1: "1 0x9", CODER: "1x9"}, "3m",
         [{"service": "chat"}]),
    Case("VllmServiceDown", "one replica still answers", {CHAT_0: "0x9", CHAT_1: "1x9"}, "9m"),
    Case("VllmServiceDown", "down for less than a minute", {CHAT_0: "1x3 0x9"}, "4m"),
    Case("VllmDown", "one replica is gone for long", {CHAT_0: "0x9", CHAT_1: "1x9", NODE_1: "0x9"}, "6m",
         [{"job": "vllm", "host": "gpu1", "instance": "gpu1:1", "service": "chat", "replica": "0"}]),
    Case("VllmDown", "a restart of four minutes", {CHAT_0: "1x2 0x4 1x9", CHAT_1: "1x15"}, "6m"),
    Case("VllmGroupGaveUp", "a rank's unit stays failed", {UNIT: "0x2 1x9"}, "5m", [UNIT_LABELS]),
    Case("VllmGroupGaveUp", "someone starts it again at once", {UNIT: "0x2 1 0x9"}, "5m"),
    Case("VllmGroupGaveUp", "a unit of another kind failed", {UNIT.replace("vllm-large", "backup"): "1x9"}, "5m"),
    Case("KvCacheHigh", "half of the samples at 0.97, half at 0.6: the mean would hide it",
         {KV: " ".join(["0.97 0.6"] * 20)}, "35m", [_KV_LABELS]),
    Case("KvCacheHigh", "one peak in ten minutes", {KV: " ".join(["0.99 0.5x9"] * 4)}, "35m"),
    Case("KvCacheHigh", "full, but not yet for ten minutes", {KV: "0.5x20 0.99x9"}, "29m"),
    Case("Watchdog", "with nothing else there", {}, "0m", [{}]),
]  # fmt: skip
