"""The one operation that changes a host's driver: out of service, new packages, reboot if need be, look, back in."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyinfra import host, logger
from pyinfra.api import FunctionCommand, Host, State
from pyinfra.api.operation import OperationMeta
from pyinfra.api.output import format_text
from pyinfra.connectors.util import remove_any_sudo_askpass_file

from vllm_fleet import remote
from vllm_fleet.converge import Commands, converge
from vllm_fleet.driver import Driver, Found, Needs, scripts
from vllm_fleet.driver.declared import made_for
from vllm_fleet.driver.found import found
from vllm_fleet.facts import Question
from vllm_fleet.network.admin import Server
from vllm_fleet.network.gateway import server_name
from vllm_fleet.observe.doctor import unfit
from vllm_fleet.operations import draining
from vllm_fleet.operations.engines import wait_command, wait_seconds
from vllm_fleet.operations.shell import Failed, is_shown, run, say
from vllm_fleet.planner.maintenance import interrupted, replicas_on
from vllm_fleet.planner.placement import Placement, on_host
from vllm_fleet.render.nvidia import version_pattern
from vllm_fleet.schema import Fleet
from vllm_fleet.schema.host import GATEWAY
from vllm_fleet.tree import act, archive, place

REBOOT_SECONDS = 1800
"""A server with 8 GPUs and terabytes of memory tests itself for many minutes."""
RECONNECT_SECONDS = 5
FIT_SECONDS = 240
"""How long GPUs may take after a boot until all answer with all their links; the fabric manager trains these."""
_DOCTOR_FACTS = Path(__file__).parents[1] / "payload" / "doctor_facts"


@dataclass(frozen=True)
class _Job:
    """What is to be done on one host."""

    fleet: Fleet
    placements: Sequence[Placement]
    driver: Driver
    now: Found
    needs: Needs

    @property
    def engines(self) -> dict[str, int]:
        """The declared engines that are on the host already, and how long each may take to start."""
        declared = on_host([*self.placements], self.driver.host.name)
        return {one.instance: one.service.start_seconds for one in declared if one.instance in self.now.engines}

    @property
    def heads(self) -> dict[Server, Placement]:
        """The servers, as gateways name them, of every replica that needs this host."""
        engines = replicas_on(self.placements, self.driver.host.name)
        return {Server(one.service.name, server_name(one)): one for one in engines}


def install_driver(name: str, fleet: Fleet, placements: Sequence[Placement], driver: Driver) -> OperationMeta:
    """The declared driver on a host that no engine runs on yet; on others only what disturbs none."""
    return _maintain(name, fleet, placements, driver, ())


def upgrade_driver(
    name: str, fleet: Fleet, placements: Sequence[Placement], driver: Driver, together: Sequence[str]
) -> OperationMeta:
    """The declared driver on a host that serves, which is drained meanwhile.

    + together: the hosts that are out of service at the same time, this one among them
    """
    return _maintain(name, fleet, placements, driver, together)


def _maintain(
    name: str, fleet: Fleet, placements: Sequence[Placement], driver: Driver, together: Sequence[str]
) -> OperationMeta:
    def act_on(now: Found) -> Commands:
        needs = driver.needs(now)
        disturbs = bool(needs.disruptive and now.engines)
        if not needs or disturbs != bool(together):
            host.noop("not in this round" if needs else "the driver is as wanted")
            return
        _report(driver, now, needs, interrupted(placements, together))
        yield FunctionCommand(_carry_out, (_Job(fleet, placements, driver, now, needs),), {})

    return converge(name, Question(driver.look, found), act_on)


def _report(driver: Driver, now: Found, needs: Needs, services: Sequence[str]) -> None:
    if not is_shown():
        return
    for line in driver.plan(now, needs):
        say(*line.split(" ", 1))
    if now.engines and needs.disruptive:
        say("drain", f"{driver.host.name} meanwhile")
    if services:
        say("interrupt", f"{', '.join(services)}: no replica elsewhere")


def _carry_out(state: State, host: Host, job: _Job) -> bool:
    """False, with one line, where it fails: pyinfra shows a traceback for what a function raises."""
    del state
    try:
        _change(host, job)
    except Failed as failed:
        logger.error("%s%s", host.print_prefix, format_text(str(failed), "red"))
        return False
    return True


def _change(on: Host, job: _Job) -> None:
    needs, driver = job.needs, job.driver
    serves = needs.disruptive and bool(job.engines or job.now.drained)
    # first what can fail without harm
    gateways = draining.gateways_of(on, [one.name for one in job.fleet.hosts_in(GATEWAY)]) if serves else []
    if needs.files.entries:
        files = driver.files(job.now.distribution, job.now.architecture)
        run(on, place(files, needs.files), stdin=archive(files))
    packages = [*needs.driver, *needs.others]
    pattern = version_pattern(driver.versions)
    if packages:
        run(on, scripts.fetch(on.name, packages, driver.packages(job.now)[0], pattern))
    drained = _drain(on, gateways, job) if serves else []
    if packages:
        run(on, scripts.put_in(packages))
    if packages or needs.hold:
        run(on, scripts.hold(pattern))
    if needs.disruptive:
        _load(on, driver)
    try:
        _start_units(on, driver)
    finally:  # which says better why a unit does not start
        if needs.disruptive:
            _check_fitness(on, job.fleet, driver)
    _generate_cdi(on, driver)
    if serves:
        if job.engines:
            run(on, wait_command(job.engines), seconds=wait_seconds(job.engines))
        draining.admit(on, gateways, drained, {server: one.service.start_seconds for server, one in job.heads.items()})


def _drain(on: Host, gateways: Sequence[Host], job: _Job) -> list[str]:
    seconds = {server: one.service.drain_seconds for server, one in job.heads.items()}
    return draining.drain(on, gateways, seconds, job.now.drained)


def _see(on: Host, driver: Driver) -> Found:
    return found(run(on, f"( {driver.look} ) 2>/dev/null; true"))


def _load(on: Host, driver: Driver) -> None:
    """Have the installed module loaded: by a reboot, where another one is, or something keeps it out (nouveau)."""
    run(on, scripts.LOAD)
    now = _see(on, driver)
    if now.module is None or now.module != driver.installed(now):
        _reboot(on)
        run(on, scripts.LOAD)


def _reboot(on: Host) -> None:
    """Reboot, and wait until the host answers with another boot id, as pyinfra's own reboot reconnects."""
    before = run(on, scripts.BOOT_ID)
    logger.info("%sreboots", on.print_prefix)
    remove_any_sudo_askpass_file(on)
    run(on, scripts.REBOOT)
    end = time.monotonic() + REBOOT_SECONDS
    while time.monotonic() < end:
        on.disconnect()
        time.sleep(RECONNECT_SECONDS)  # a host boots; bounded above
        on.connect(show_errors=False)
        if on.connected and _boot_id(on) not in (None, before):
            return
    raise Failed(f"{on.name}: does not answer {REBOOT_SECONDS} s after its reboot; look at its console")


def _boot_id(on: Host) -> list[str] | None:
    try:
        return run(on, scripts.BOOT_ID, seconds=20)
    except Exception:  # a host that goes down or comes up ends connections in many ways
        return None


def _start_units(on: Host, driver: Driver) -> None:
    now = _see(on, driver)
    changes = driver.needs(now).files
    if changes.actions:
        run(on, act(driver.files(now.distribution, now.architecture), changes))


def _check_fitness(on: Host, fleet: Fleet, driver: Driver) -> None:
    """Every declared GPU is there, whole, and on the declared driver."""
    facts = remote.package_task(_DOCTOR_FACTS)
    end = time.monotonic() + FIT_SECONDS
    while True:
        findings = unfit(fleet, driver.host, json.loads("\n".join(run(on, facts.command, stdin=facts.stdin))))
        if not findings:
            return
        if time.monotonic() >= end:
            more = f" (and {len(findings) - 1} more: fleet doctor)" if len(findings) > 1 else ""
            raise Failed(f"{findings[0]}{more}; {on.name} takes no requests until a deploy finds it in order")
        time.sleep(RECONNECT_SECONDS)  # links are trained meanwhile; bounded above


def _generate_cdi(on: Host, driver: Driver) -> None:
    now = _see(on, driver)
    if driver.needs(now).cdi:
        run(on, scripts.generate_cdi(made_for(now)))
