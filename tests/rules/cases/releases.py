"""Cases of what runs, beside what is declared."""

from __future__ import annotations

from tests.rules.cases.case import Case, fact, fact_labels

_HOURS = 60


def _info(host: str, replica: int, configuration: str, release: str) -> str:
    labels = {"rank": "0", "release": release, "configuration": configuration, "track": "stable"}
    return fact("vllm_fleet_engine_info", host, "chat", replica, vllm_version="0.33", **labels)


_FIRST, _SECOND, _SECOND_NEW = _info("gpu1", 0, "aa", "a1"), _info("gpu2", 1, "aa", "a2"), _info("gpu2", 1, "bb", "b2")
_RUNS_OLD, _RUNS_NEW = (fact("vllm_fleet_engine_running_info", "gpu2", "chat", 1, release=id) for id in ("a2", "b2"))
_RUNS_UNKNOWN = fact("vllm_fleet_engine_running_info", "gpu2", "chat", 1, release="unknown")
_DRIFTED = fact_labels("gpu2", "chat", 1, release="a2")

CASES = [
    Case("VersionSkew", "one host was left out", {_FIRST: "1x240", _SECOND: "1x29 stale _x210",
         _SECOND_NEW: "_x30 1x210"}, 30 + 2 * _HOURS, [{"service": "chat", "track": "stable"}]),
    Case("VersionSkew", "all run alike, each with a release of its own", {_FIRST: "1x240", _SECOND: "1x240"}, 200),
    Case("VersionSkew", "the other host follows within two hours", {_info("gpu1", 0, "bb", "b1"): "_x90 1x150",
         _FIRST: "1x89 stale _x150", _SECOND: "1x9 stale _x230", _SECOND_NEW: "_x10 1x230"}, 200),
    Case("ConfigDrift", "a deploy went back to the last good release", {_SECOND_NEW: "1x240", _RUNS_OLD: "1x240"},
         2 * _HOURS, [_DRIFTED]),
    Case("ConfigDrift", "an older process runs on", {_SECOND_NEW: "1x240", _RUNS_UNKNOWN: "1x240"}, 2 * _HOURS,
         [_DRIFTED | {"release": "unknown"}]),
    Case("ConfigDrift", "the declared one runs", {_SECOND_NEW: "1x240", _RUNS_NEW: "1x240"}, 200),
    Case("ConfigDrift", "another host declares the same release", {_SECOND_NEW: "1x240", _RUNS_NEW: "1x240",
         _FIRST: "1x240"}, 200),
    Case("ConfigDrift", "it is stopped", {_SECOND_NEW: "1x240", _RUNS_OLD: "1x29 stale _x210"}, 200),
    Case("ConfigDrift", "restarted within two hours", {_SECOND_NEW: "1x240", _RUNS_OLD: "1x89 stale _x150",
         _RUNS_NEW: "_x90 1x150"}, 200),
]  # fmt: skip
