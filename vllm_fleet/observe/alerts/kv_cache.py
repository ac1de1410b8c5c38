"""The KV cache: room for requests, and prompts that need not be computed again."""

from __future__ import annotations

from vllm_fleet.observe import metrics
from vllm_fleet.observe.alerts import subjects
from vllm_fleet.observe.alerts.alert import ENGINE, Alert

# Not the mean: with 10 preemptions/s it stood at 0.72-0.83 while the 90th percentile was 0.97 (vLLM 0.32).
_USAGE = f"quantile_over_time(0.9, {metrics.KV_CACHE_USAGE}[10m])"

KV_CACHE_HIGH = Alert(
    name="KvCacheHigh",
    query=_USAGE,
    comparison=">",
    threshold=0.9,
    held="10m",
    severity="ticket",
    subject=subjects.KV_CACHE,
    summary=f"{ENGINE}: KV cache nearly full for 20 minutes; requests will be preempted",
    action="Plan for more room: another replica, an FP8 cache, shorter contexts",
)

KV_CACHE_SATURATED = Alert(
    name="KvCacheSaturated",
    query=_USAGE,
    comparison=">",
    threshold=0.95,
    held="5m",
    severity="page",
    subject=subjects.KV_CACHE,
    summary=f"{ENGINE}: KV cache full, and requests wait for room in it",
    action="Turn load away or add a replica; long prompts of one client are a frequent cause",
    provided=f'and ignoring (reason) avg_over_time({metrics.REQUESTS_WAITING_BY_REASON}{{reason="capacity"}}[5m]) > 1',
)

PREEMPTIONS = Alert(
    name="Preemptions",
    query=f"rate({metrics.PREEMPTIONS}[10m]) / sum without (finished_reason) (rate({metrics.REQUESTS_FINISHED}[10m]))",
    comparison=">",
    threshold=0.05,
    held="10m",
    severity="ticket",
    subject=subjects.KV_CACHE,
    summary=f"{ENGINE}: more than 5 preemptions in 100 requests; each is computed again",
    action="Lower max-num-seqs, so that requests wait instead, or give the KV cache more room",
)


KV_CACHE_SMALLER_THAN_PLANNED = Alert(
    name="KvCacheSmallerThanPlanned",
    query=f"{metrics.KV_CACHE_TOKENS} / on ({metrics.HOST}, {metrics.UNIT}) group_left () {metrics.KV_CACHE_PLANNED}",
    comparison="<",
    # the plan was off by 0.9 % at most where it was measured (docs/planning.md)
    threshold=0.9,
    held="15m",
    severity="ticket",
    subject=subjects.KV_CACHE,
    summary=f"{ENGINE}: its KV cache holds less than 90 % of the tokens that were planned",
    action="Compare what vLLM logged of its memory at the start with `fleet plan`",
)


def _hit_share(offset: str = "") -> str:
    hits, queries = (f"rate({name}[1h]{offset})" for name in (metrics.PREFIX_CACHE_HITS, metrics.PREFIX_CACHE_QUERIES))
    return f"sum by ({metrics.SERVICE}) ({hits}) / sum by ({metrics.SERVICE}) ({queries})"


_YESTERDAY = _hit_share(" offset 1d")

PREFIX_HIT_COLLAPSE = Alert(
    name="PrefixHitCollapse",
    query=f"({_hit_share()}) / ({_YESTERDAY})",
    comparison="<",
    threshold=0.5,
    held="30m",
    severity="ticket",
    subject=subjects.KV_CACHE,
    summary="{{ $labels.service }}: prompts hit the prefix cache less than half as often as yesterday",
    action="Ask what changed in the prompts, or in how requests reach the replicas",
    # a share that was small yesterday may well be smaller today
    provided=f"and {_YESTERDAY} > 0.1",
)

ALERTS = (KV_CACHE_SATURATED, KV_CACHE_HIGH, PREEMPTIONS, PREFIX_HIT_COLLAPSE, KV_CACHE_SMALLER_THAN_PLANNED)
