"""Every host: packages, time, limits, the journal's size, and the user engines run as."""

from __future__ import annotations

from pyinfra.api import deploy
from pyinfra.operations import apt, server

from vllm_fleet import paths
from vllm_fleet.operations import put_files, run_unless, running
from vllm_fleet.render import base

# python3 runs the probes, chrony keeps certificates and metrics honest, ca-certificates and tar serve downloads
PACKAGES = ["ca-certificates", "chrony", "python3", "tar"]


@deploy("Base")
def apply() -> None:
    """What every host of the fleet has."""
    apt.packages(name="Install base packages", packages=PACKAGES, update=True, cache_time=86400, no_recommends=True)
    server.group(name=f"Group {paths.SERVICE_USER}", group=paths.SERVICE_USER, system=True, gid=paths.SERVICE_UID)
    server.user(
        name=f"User {paths.SERVICE_USER}",
        user=paths.SERVICE_USER,
        group=paths.SERVICE_USER,
        uid=paths.SERVICE_UID,
        system=True,
        home=paths.STATE,
        create_home=False,
        ensure_home=False,
        shell="/usr/sbin/nologin",
    )
    journal = put_files(name="Bound the journal", files=[base.JOURNAL])
    running(name="Journal runs with these bounds", unit="systemd-journald.service", restart_on=[journal])
    put_files(name="Set limits", files=[base.LIMITS, base.SYSCTL])
    run_unless(
        name="Apply kernel settings",
        command=f"sysctl --quiet --load {base.SYSCTL.path}",
        test='[ "$(cat /proc/sys/net/core/somaxconn)" = 4096 ]',
    )
    running(name="Time is synchronised", unit="chrony.service")
