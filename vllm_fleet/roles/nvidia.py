"""GPU hosts: kernel settings, and NVIDIA's driver, fabric manager and container toolkit, changed host by host."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet.driver import Driver
from vllm_fleet.operations import install_driver, run_unless, tree, upgrade_driver
from vllm_fleet.planner.maintenance import rounds
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render import tuning
from vllm_fleet.schema import Fleet
from vllm_fleet.tree import Unit


def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """What a host with GPUs needs before engines run there; nothing where the inventory declares none."""
    here = fleet.host(host.name)
    if here.gpus:
        settings()
    if here.gpus and fleet.versions.nvidia_packages is not None:
        driver(fleet, placements)


@deploy("GPU host")
def settings() -> None:
    """Kernel settings, and nouveau kept out. In a container, whose kernel is another's, they are only placed."""
    unit = tuning.unit_file()
    tree(
        name="Settings",
        entries=[tuning.SYSCTL, tuning.LIMITS, tuning.NOUVEAU, unit],
        units=[Unit(tuning.UNIT, restart_on=(unit,))],
    )
    run_unless(name="Kernel settings", command=tuning.APPLY, test=tuning.applied())
    run_unless(name="Initramfs without nouveau", command=tuning.INITRAMFS, test=tuning.INITRAMFS_IS_NEWER)


@deploy("NVIDIA")
def driver(fleet: Fleet, placements: list[Placement]) -> None:
    """The driver: at once where nothing serves yet, else a round of hosts after the other."""
    declared = Driver(fleet.versions, fleet.host(host.name))
    install_driver("Driver", fleet, placements, declared)
    # a round begins when the one before is over on all its hosts; one that fails is the last (FAIL_PERCENT)
    for together in host.loop(rounds(placements, [one for one in fleet.hosts if one.gpus])):
        if host.name in together:
            upgrade_driver(f"Driver of {', '.join(together)}", fleet, placements, declared, together)
