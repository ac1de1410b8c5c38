"""Cases of single engines."""

from __future__ import annotations

from tests.rules.cases.case import ENGINE, Case, counter, engine, fact, fact_labels, labels_of, series, up

CHAT_0, CHAT_1, CODER = up("vllm", "gpu1", "chat", 0), up("vllm", "gpu2", "chat", 1), up("vllm", "gpu1", "coder", 0)
NODE = up("node", "gpu1")
CHAT_0_DOWN = [labels_of("vllm", "gpu1", "chat", 0)]


def unit(state: str, name: str = "vllm-chat.service", host: str = "gpu1") -> str:
    """One of the five series of a unit's state."""
    return series("node_systemd_unit_state", labels_of("node", host) | {"name": name, "state": state, "type": "exec"})


_FAILED = labels_of("node", "gpu1") | {"name": "vllm-large.service", "state": "failed", "type": "exec"}
_RESTARTED = labels_of("node", "gpu1") | {"name": "vllm-chat.service"}
_RESTARTS = series("node_systemd_service_restart_total", _RESTARTED)
_OTHER_RESTARTS = _RESTARTS.replace("vllm-chat", "backup")
_PROBE, _WAITING = fact("vllm_fleet_probe_success"), engine("vllm:num_requests_waiting")
_PROBE_FAILS = [fact_labels()]


def _pair(first: str, second: str) -> dict[str, str]:
    """Whether the unit of a model over two hosts is active on each."""
    return {fact("vllm_fleet_group_size", host, "large"): "2x20" for host in ("gpu1", "gpu2")} | {
        unit("active", "vllm-large.service", host): values for host, values in (("gpu1", first), ("gpu2", second))
    }


_GONE = {
    fact("vllm_fleet_group_size", "gpu2", "large"): "2x2 stale _x17",
    unit("active", "vllm-large.service", "gpu2"): "1x2 stale _x17",
}
_STEPS, _RUNNING = engine("vllm:iteration_tokens_total_count"), engine("vllm:num_requests_running")

CASES = [
    Case("VllmDown", "its unit was stopped", {CHAT_0: "1x2 0x9", CHAT_1: "1x11", NODE: "1x11",
         unit("active"): "1x2 0x9", unit("inactive"): "0x2 1x9"}, 4, CHAT_0_DOWN),
    Case("VllmDown", "nobody knows of its unit, for the exporter is gone too; another engine shows that the host is up",
         {CHAT_0: "1x2 0x9", NODE: "1x2 0x9", CODER: "1x11"}, 4, CHAT_0_DOWN),
    Case("VllmDown", "its unit on another host runs", {CHAT_0: "0x9", NODE: "1x9", unit("active", host="gpu2"): "1x9"},
         1, CHAT_0_DOWN),
    Case("VllmDown", "it loads", {CHAT_0: "0x9", NODE: "1x9", unit("active"): "1x9"}, 9),
    Case("VllmDown", "it is about to be started again", {CHAT_0: "0x9", NODE: "1x9", unit("activating"): "1 0 1x9",
         unit("active"): "0 1 0x9"}, 9),
    Case("VllmDown", "its group gave up", {CHAT_0: "0x9", NODE: "1x9", unit("failed"): "1x9"}, 9),
    Case("VllmDown", "its host is down", {CHAT_0: "0x9", NODE: "0x9"}, 9),
    Case("VllmDown", "stopped for less than a minute", {CHAT_0: "1x2 0 1x9", NODE: "1x11", unit("active"): "1x2 0 1x9"},
         3),
    Case("VllmLoadingTooLong", "it runs and does not answer", {CHAT_0: "1x2 0x9", CHAT_1: "1x11", NODE: "1x11",
         unit("active"): "1x11"}, 8, CHAT_0_DOWN),
    Case("VllmLoadingTooLong", "it answers after four minutes", {CHAT_0: "1x2 0x3 1x9", unit("active"): "1x15"}, 9),
    Case("VllmLoadingTooLong", "another engine's unit runs", {CHAT_0: "0x9", unit("inactive"): "1x9",
         unit("active", "vllm-coder.service"): "1x9"}, 9),
    Case("VllmCrashLoop", "three restarts", {_RESTARTS: "0x9 1x4 2x4 3x30"}, 25, [_RESTARTED]),
    Case("VllmCrashLoop", "two restarts in half an hour", {_RESTARTS: "0x9 1x4 2x30"}, 40),
    Case("VllmCrashLoop", "three, but in an hour", {_RESTARTS: "0x9 1x24 2x24 3x30"}, 80),
    Case("VllmCrashLoop", "a unit of another kind", {_OTHER_RESTARTS: counter((30, 1))}, 30),
    Case("VllmGroupGaveUp", "a rank's unit stays failed", {series("node_systemd_unit_state", _FAILED): "0x2 1x9"}, 4,
         [_FAILED]),
    Case("VllmGroupGaveUp", "someone starts it again at once", {unit("failed", "vllm-large.service"): "0x2 1 0x9"}, 5),
    Case("VllmGroupGaveUp", "a unit of another kind failed", {unit("failed", "backup.service"): "1x9",
         unit("failed", "vllm-fleet-firewall.service"): "1x9"}, 5),
    Case("VllmWedged", "requests run, and no step is made", {_STEPS: f"{counter((5, 900))} 4500x9", _RUNNING: "4x15"},
         9, [ENGINE]),
    Case("VllmWedged", "nothing to do", {_STEPS: "4500x15", _RUNNING: "0x15"}, 15),
    Case("VllmWedged", "one slow step", {_STEPS: "0+900x5 4500x3 4501+1x9", _RUNNING: "4x20"}, 15),
    Case("VllmProbeFailing", "idle and frozen", {_PROBE: "1x4 0x15", CHAT_0: "1x20", _STEPS: "4500x20",
         _WAITING: "0x20"}, 8, _PROBE_FAILS),
    Case("VllmProbeFailing", "frozen with a queue", {_PROBE: "1x4 0x15", CHAT_0: "1x20", _STEPS: "4500x20",
         _WAITING: "7x20"}, 8, _PROBE_FAILS),
    Case("VllmProbeFailing", "it refuses, and works off what it has", {_PROBE: "0x20", CHAT_0: "1x20",
         _STEPS: counter((20, 900)), _WAITING: "0x20"}, 3, _PROBE_FAILS),
    Case("VllmProbeFailing", "busy: others wait, too, and steps are made", {_PROBE: "0x20", CHAT_0: "1x20",
         _STEPS: counter((20, 900)), _WAITING: "30x20"}, 15),
    Case("VllmProbeFailing", "two probes fail", {_PROBE: "1x4 0 0 1x14", CHAT_0: "1x20", _STEPS: "4500x20"}, 10),
    Case("VllmProbeFailing", "it is down", {_PROBE: "0x20", CHAT_0: "0x20"}, 15),
    Case("VllmProbeFailing", "it was stopped while a probe failed", {_PROBE: "0x2 stale _x17", CHAT_0: "1x20"}, 10),
    Case("VllmGroupPartial", "the second host's part has stopped", _pair("1x20", "1x2 0x17"), 5,
         [{"service": "large", "replica": "0"}]),
    Case("VllmGroupPartial", "the first host's part has stopped", _pair("1x2 0x17", "1x20"), 5,
         [{"service": "large", "replica": "0"}]),
    Case("VllmGroupPartial", "both were stopped", _pair("1x2 0x17", "1x2 0x17"), 15),
    Case("VllmGroupPartial", "both start again, one a minute later", _pair("1 0 1x17", "1 0 0 1x16"), 15),
    Case("VllmGroupPartial", "the second host is down", _pair("1x20", "1x20") | _GONE, 15),
    Case("VllmGroupPartial", "another unit of that host has stopped", _pair("1x20", "1x20")
         | {unit("active", "vllm-chat.service"): "0x20"}, 15),
]  # fmt: skip
