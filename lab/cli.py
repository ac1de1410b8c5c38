"""The lab's command line: up, down, status, ssh, reboot, poweroff, tools."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from lab import cleanup, hosts, machine, shell, state, supervisor, tools, topology
from lab.build import bring_up, is_up
from lab.errors import LabError
from lab.progress import Reporter
from lab.topology import HOSTS, PATHS

console = Console(highlight=False, soft_wrap=True)
host_argument = click.argument("name", type=click.Choice(list(HOSTS)))
Result = TypeVar("Result")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `up`s at once would undo each other; the kernel drops the lock when its holder dies."""
    PATHS.lab.mkdir(exist_ok=True)
    with PATHS.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError("another `lab up` or `lab down` is at work in this checkout; wait for it") from None
        yield


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Boot three throw-away hosts (gpu-1, gpu-2, ops-1) on this machine, with real systemd and SSH.

    LAB_RELEASE=bookworm boots Debian 12 hosts instead of Debian 13.
    """


@commands.command()
def up() -> None:
    """Boot the hosts and start the mirrors; build what is missing first."""
    release = topology.release()
    machine.check(release)
    with one_at_a_time():
        if is_up(release, PATHS):
            console.print(f"the lab is up: {', '.join(HOSTS)} (Debian {release})")
            return
        began = time.monotonic()
        with Reporter() as reporter:
            bring_up(release, PATHS, reporter)
        console.print(f"the lab is up after {time.monotonic() - began:.0f} s: ssh -F .lab/ssh/config gpu-1")


@commands.command()
@click.option("--cache", is_flag=True, help="Remove the downloads and built images too.")
def down(cache: bool) -> None:
    """Remove hosts, mirrors, bridge, mounts and disks; downloads stay for the next time."""
    machine.check(topology.release())
    with one_at_a_time():
        cleanup.down(PATHS, cache=cache)
    console.print("the lab is gone" if cache else "the lab is gone; downloads stay in .lab/cache (down --cache)")


@commands.command()
def status() -> None:
    """Show what runs; exit code 1 if the lab is not up."""
    machine.check(topology.release())
    rows = supervisor.status(PATHS)
    table = Table("name", "kind", "address", "state", "starts", box=None)
    for name, row in rows.items():
        address = HOSTS.get(name, topology.BRIDGE_ADDRESS)
        doing = f"running (pid {row['pid']})" if row["pid"] else f"off ({row['ended']})"
        table.add_row(name, row["kind"], address, doing, str(row["starts"]))
    console.print(table if rows else "the lab is down")
    facts = state.read(PATHS)
    if facts is None or not is_up(facts["release"], PATHS):
        if rows:
            console.print("not everything is up; mend with: python -m lab up")
        sys.exit(1)


@commands.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@host_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, command: tuple[str, ...]) -> None:
    """Open a shell on a host, or run a command there."""
    if not PATHS.ssh_config.exists():
        raise LabError("the lab is down; start it with: python -m lab up")
    argv = hosts.ssh_argv(PATHS, name, command)
    os.execvp(argv[0], argv)


@commands.command()
@host_argument
def reboot(name: str) -> None:
    """Reboot a host from inside and wait until it has booted again."""
    machine.check(topology.release())
    before = hosts.boot_id(name, PATHS)
    if not before:
        raise LabError(f"{name} is not up; start it with: python -m lab up")
    _ask(name, "reboot")
    hosts.wait_booted(name, PATHS, unlike=before)
    console.print(f"{name} has rebooted")


@commands.command()
@host_argument
def poweroff(name: str) -> None:
    """Power a host off from inside; `up` starts it again."""
    machine.check(topology.release())
    if not supervisor.status(PATHS).get(name, {}).get("pid"):
        console.print(f"{name} is off")
        return
    _ask(name, "poweroff")
    _wait_until(lambda: not supervisor.status(PATHS)[name]["pid"], f"{name} did not power off within 90 s", 90)
    console.print(f"{name} is off")


@commands.command("tools")
def unpack_tools() -> None:
    """Unpack the programs that check rendered files, of each Debian release; nothing is installed."""
    machine.check(topology.release())
    with one_at_a_time(), Reporter() as reporter:
        tools.provide(PATHS, reporter)


def _ask(name: str, verb: str) -> None:
    """The connection may or may not outlive the command, so its exit code says nothing."""
    shell.quiet(hosts.ssh_argv(PATHS, name, ["sudo", "systemctl", verb]))


def _wait_until(condition: Callable[[], bool], failure: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise LabError(failure)
        time.sleep(0.1)  # between looks; bounded above


def main() -> None:
    """Run a command; what can be foreseen ends in one line, not in a traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        commands()
    except LabError as error:
        errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        errors.print(f"lab: {error}")
        if error.detail:
            errors.print(error.detail)
        sys.exit(error.exit_code)
    except json.JSONDecodeError as error:
        sys.exit(f"lab: a file in .lab is broken ({error}); start afresh with: python -m lab down")
