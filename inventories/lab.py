"""The lab's three hosts (`make lab`), in the same form as a real fleet."""

from lab.state import read as _read_state
from vllm_fleet.schema import ConfigError as _ConfigError

_lab = _read_state()
if not _lab:
    raise _ConfigError("the lab is not up; run `make lab` first")


# simulated by packages of the lab's own, with NVIDIA's names (lab/nvidia)
_GPUS = {"gpus": 8, "gpu": "h200-sxm"}


def _host(name: str, **data: object) -> tuple[str, dict]:
    connection = {
        "ssh_hostname": _lab["hosts"][name],
        "ssh_user": _lab["ssh"]["user"],
        "ssh_key": _lab["ssh"]["key"],
        "ssh_known_hosts_file": _lab["ssh"]["known_hosts"],
    }
    return (name, {"address": _lab["hosts"][name], "interface": "host0", **connection, **data})


gpu = [_host("gpu-1", **_GPUS), _host("gpu-2", **_GPUS)]

gateway = [_host("ops-1")]

monitoring = ["ops-1"]
