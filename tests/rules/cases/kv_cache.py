"""Cases of the KV cache."""

from __future__ import annotations

from tests.rules.cases.case import ENGINE, Case, counter, engine, fact, fact_labels

_KV = engine("vllm:kv_cache_usage_perc")
_FOR_ROOM, _OTHERWISE = (
    engine("vllm:num_requests_waiting_by_reason", reason=reason) for reason in ("capacity", "deferred")
)
_PLANNED, _HELD = fact("vllm_fleet_kv_cache_planned_tokens"), fact("vllm_fleet_kv_cache_tokens", engine="0")
_HELD_BY_SECOND = fact("vllm_fleet_kv_cache_tokens", engine="1")
_PREEMPTED = engine("vllm:num_preemptions_total")
_STOPPED, _CUT = (engine("vllm:request_success_total", finished_reason=reason) for reason in ("stop", "length"))
_QUERIES, _HITS = engine("vllm:prefix_cache_queries_total"), engine("vllm:prefix_cache_hits_total")
_DAY = 24 * 60
_CHAT = [{"service": "chat"}]


def _prefixes(yesterday: float, today: float, queries: int = 50000) -> dict[str, str]:
    """The share of a prompt's tokens that hits, for a day and for three hours after it."""
    spans = (_DAY // 5, yesterday), (36, today)
    return {
        _QUERIES: counter(*((length, queries) for length, _ in spans)),
        _HITS: counter(*((length, queries * share) for length, share in spans)),
    }


CASES = [
    Case("KvCacheHigh", "half of the samples at 0.97, half at 0.6: the mean would hide it",
         {_KV: " ".join(["0.97 0.6"] * 20)}, 10, [ENGINE]),
    Case("KvCacheHigh", "well used", {_KV: "0.88x40"}, 35),
    Case("KvCacheHigh", "one peak in ten minutes", {_KV: " ".join(["0.99 0.5x9"] * 4)}, 35),
    Case("KvCacheHigh", "full, but not yet for ten minutes", {_KV: "0.5x20 0.99x9"}, 29),
    Case("KvCacheSaturated", "full, and requests wait for room", {_KV: "0.99x30", _FOR_ROOM: "3x30"}, 5, [ENGINE]),
    Case("KvCacheSaturated", "full, and nobody waits", {_KV: "0.99x30", _FOR_ROOM: "0x30"}, 30),
    Case("KvCacheSaturated", "full, and requests wait for something else", {_KV: "0.99x30", _FOR_ROOM: "0x30",
         _OTHERWISE: "9x30"}, 30),
    Case("KvCacheSaturated", "room left, and requests wait for max-num-seqs", {_KV: "0.9x30", _FOR_ROOM: "9x30"}, 30),
    Case("Preemptions", "one in fourteen", {_PREEMPTED: counter((30, 1)), _STOPPED: counter((30, 7)),
         _CUT: counter((30, 7))}, 11, [ENGINE]),
    Case("Preemptions", "nothing finishes any more", {_PREEMPTED: counter((30, 1)), _STOPPED: "9x30"}, 11, [ENGINE]),
    Case("Preemptions", "one in twenty-five", {_PREEMPTED: counter((30, 1)), _STOPPED: counter((30, 25))}, 30),
    Case("Preemptions", "an idle engine", {_PREEMPTED: "7x30", _STOPPED: "9x30"}, 30),
    Case("PrefixHitCollapse", "a fifth of what hit yesterday", _prefixes(0.5, 0.1), _DAY + 70, _CHAT, step=5),
    Case("PrefixHitCollapse", "two thirds of it", _prefixes(0.6, 0.4), _DAY + 180, step=5),
    Case("PrefixHitCollapse", "little hit yesterday", _prefixes(0.05, 0.01), _DAY + 180, step=5),
    Case("PrefixHitCollapse", "nobody asks", _prefixes(0.5, 0.1, queries=0), _DAY + 180, step=5),
    Case("KvCacheSmallerThanPlanned", "four fifths of it", {_PLANNED: "450000x40", _HELD: "360000x40"}, 15,
         [fact_labels(engine="0")]),
    Case("KvCacheSmallerThanPlanned", "of one data parallel rank", {_PLANNED: "450000x40", _HELD: "450000x40",
         _HELD_BY_SECOND: "360000x40"}, 15, [fact_labels(engine="1")]),
    Case("KvCacheSmallerThanPlanned", "a little less", {_PLANNED: "450000x40", _HELD: "410000x40"}, 35),
    Case("KvCacheSmallerThanPlanned", "nothing was planned", {_HELD: "360000x40"}, 35),
    Case("KvCacheSmallerThanPlanned", "another engine's plan", {_HELD: "360000x40",
         fact("vllm_fleet_kv_cache_planned_tokens", service="coder"): "450000x40"}, 35),
]  # fmt: skip
