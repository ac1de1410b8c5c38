"""The plain hosts of `make bench` (LAB_NODES=24): GPU hosts without an engine, of which the first watches all."""

from lab.state import read_nodes as _read_nodes
from vllm_fleet.schema import ConfigError as _ConfigError

_lab = _read_nodes()
if not _lab:
    raise _ConfigError("the plain hosts are not up; run `LAB_NODES=24 .venv/bin/python -m lab up` first")


def _host(name: str, address: str) -> tuple[str, dict]:
    connection = {
        "ssh_hostname": address,
        "ssh_user": _lab["ssh"]["user"],
        "ssh_key": _lab["ssh"]["key"],
        "ssh_known_hosts_file": _lab["ssh"]["known_hosts"],
    }
    return (name, {"address": address, **connection})


gpu = [_host(name, address) for name, address in _lab["hosts"].items()]

gateway = ["node-1"]

monitoring = ["node-1"]
