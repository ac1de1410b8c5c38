"""Series in, alerts out: for each alert at least one case that fires and one that stays silent.

The Watchdog never is silent: that is its use.
"""

from __future__ import annotations

from tests.rules.cases import engine, gpu, host, kv_cache, queue, releases, service, slo, watching
from tests.rules.cases.case import Case

__all__ = ["CASES", "Case"]

CASES: list[Case] = [
    case for subject in (service, slo, engine, releases, queue, kv_cache, gpu, host, watching) for case in subject.CASES
]
