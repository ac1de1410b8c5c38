"""Cases of hosts."""

from __future__ import annotations

from tests.rules.cases.case import Case, labels_of, series, up

NODE_1, NODE_2, CHAT_0 = up("node", "gpu1"), up("node", "gpu2"), up("vllm", "gpu1", "chat", 0)
_NODE = labels_of("node", "gpu1")
_MODELS = _NODE | {"device": "/dev/md0", "fstype": "xfs", "mountpoint": "/var/lib/vllm-fleet"}


def _disk(free: str, mountpoint: str = "/var/lib/vllm-fleet") -> dict[str, str]:
    """A file system of 100 bytes."""
    labels = _MODELS | {"mountpoint": mountpoint}
    return {
        series("node_filesystem_avail_bytes", labels): free,
        series("node_filesystem_size_bytes", labels): "100x30",
    }


_KILLS, _CLOCK = series("node_vmstat_oom_kill", _NODE), series("node_time_seconds", _NODE)

CASES = [
    Case("HostDown", "everything on a host is gone", {NODE_1: "1x2 0x9", CHAT_0: "1x2 0x9", NODE_2: "1x11"}, 4,
         [{"host": "gpu1"}]),
    Case("HostDown", "only the exporter is gone", {NODE_1: "0x9", CHAT_0: "1x9"}, 9),
    Case("HostDown", "a single failed scrape", {NODE_1: "1 0 1x9", CHAT_0: "1 0 1x9"}, 2),
    Case("ModelDiskFilling", "less than a tenth is free", _disk("30x4 9x25"), 20, [_MODELS]),
    Case("ModelDiskFilling", "a tenth is free", _disk("10x30"), 30),
    Case("ModelDiskFilling", "full while a download is unpacked", _disk("30x4 5x13 30x12"), 25),
    Case("ModelDiskFilling", "another file system is full", _disk("1x30", "/boot"), 30),
    Case("OomKill", "one process is killed", {_KILLS: "3x5 4x30"}, 6, [_NODE]),
    Case("OomKill", "none since the last boot", {_KILLS: "3x5 0x30"}, 10),
    Case("OomKill", "one a quarter of an hour ago", {_KILLS: "3x5 4x30"}, 21),
    Case("ClockSkew", "two seconds ahead", {_CLOCK: "2+60x30"}, 10, [_NODE]),
    Case("ClockSkew", "two seconds behind", {_CLOCK: "-2+60x30"}, 10, [_NODE]),
    Case("ClockSkew", "half a second, the time of a slow scrape", {_CLOCK: "0.5+60x30"}, 30),
    Case("ClockSkew", "set right within ten minutes", {_CLOCK: "2+60x8 540+60x20"}, 25),
]  # fmt: skip
