"""Every host: packages, time, limits, the journal's size, and the user engines run as."""

from __future__ import annotations

from pyinfra.api import deploy

from vllm_fleet import paths
from vllm_fleet.operations import run_unless, tree
from vllm_fleet.render import base
from vllm_fleet.tree import Unit

# python3 runs the probes, chrony keeps certificates and metrics honest, ca-certificates and tar serve downloads
PACKAGES = ["ca-certificates", "chrony", "python3", "tar"]


@deploy("Base")
def apply() -> None:
    """What every host of the fleet has."""
    tree(
        name="Settings",
        packages=PACKAGES,
        entries=[base.JOURNAL, base.LIMITS, base.SYSCTL, base.USER],
        units=[Unit("systemd-journald.service", restart_on=(base.JOURNAL,)), Unit("chrony.service")],
    )
    run_unless(
        name="User and kernel settings",
        command=f"systemd-sysusers {base.USER.path} && sysctl --quiet --load {base.SYSCTL.path}",
        test=f'[ "$(id -u {paths.SERVICE_USER})" = {paths.SERVICE_UID} ] && [ "$(cat {base.SOMAXCONN})" = 4096 ]',
    )
