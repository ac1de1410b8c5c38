"""Taking the lab away: complete, repeatable, and sure of what it ends."""

from __future__ import annotations

import shutil

from lab import cgroup, hosts, network, supervisor
from lab.errors import LabError
from lab.topology import Paths


def leftovers(paths: Paths) -> bool:
    """Whether anything of a lab is there, of a running one or of one that was cut short."""
    return cgroup.root().exists() or network.exists() or paths.run.exists() or paths.state.exists()


def down(paths: Paths, *, cache: bool = False) -> None:
    """Remove every trace; downloads stay unless asked. The hosts' disks are thrown away, so nothing is shut down."""
    if elsewhere := supervisor.other_checkout(paths):
        raise LabError(
            f"the lab of another checkout runs on this machine; end it there: cd {elsewhere} && make lab-down"
        )
    for facts in (paths.state, paths.nodes):
        facts.unlink(missing_ok=True)
    cgroup.kill()
    hosts.unmount(paths)
    network.down()
    for directory in (paths.run, paths.ssh, paths.secrets, paths.logs, *([paths.cache] if cache else [])):
        shutil.rmtree(directory, ignore_errors=True)
