"""Reads an inventory as pyinfra reads it for a deploy: `python -m tests.host.inventory FILE` writes it as a pickle.

A program of its own, for importing pyinfra's command line patches the whole standard library (gevent).
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any


class InventoryError(Exception):
    """The inventory or its group data cannot be loaded; the message is pyinfra's."""


def read(path: str) -> dict[str, dict[str, Any]]:
    """Each host's fleet, placements and connection data (`ssh_*`), from all its groups.

    The group named after the inventory file is one of them. Raises InventoryError.
    """
    done = subprocess.run([sys.executable, "-m", __name__, path], capture_output=True, check=False)
    if done.returncode:
        raise InventoryError(done.stderr.decode(errors="replace").strip())
    hosts: dict[str, dict[str, Any]] = pickle.loads(done.stdout)
    return hosts


def _main(path: str) -> None:
    from pyinfra.api import State
    from pyinfra.api.exceptions import PyinfraError
    from pyinfra.context import ctx_state
    from pyinfra_cli.inventory import make_inventory

    sys.path.append(os.getcwd())  # as pyinfra does: group data may import what stands beside it
    try:
        with ctx_state.use(State()):
            hosts = {host.name: _wanted(host.data.dict()) for host in make_inventory(path, cwd=os.getcwd())}
    except PyinfraError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(pickle.dumps(hosts))


def _wanted(data: dict[str, Any]) -> dict[str, Any]:
    """What the tests use; a group data file's own helpers are data to pyinfra too, and need not be picklable."""
    return {key: value for key, value in data.items() if key in ("fleet", "placements") or key.startswith("ssh_")}


if __name__ == "__main__":
    _main(sys.argv[1])
