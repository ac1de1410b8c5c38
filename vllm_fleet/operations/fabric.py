"""The proof of the network between the hosts of a replica, on all of them at once."""

from __future__ import annotations

import shlex
from pathlib import Path

import gevent
from pyinfra import host
from pyinfra.api import FunctionCommand, Host, State
from pyinfra.api.operation import OperationMeta

from vllm_fleet.converge import Commands, converge
from vllm_fleet.engine.fabric import SECONDS, proof_of
from vllm_fleet.facts import holds
from vllm_fleet.operations.shell import script


def prove_fabric(name: str, proven: str, digest: str, commands: dict[str, str]) -> OperationMeta:
    """Prove that the hosts of a replica can talk, on all of them at once, unless that was proven already.

    + proven: path of the file that holds the digest of what was proven last
    + commands: what each member runs at the same time, by host in rank order (engine/fabric.py)
    """

    def prove(already: bool) -> Commands:
        if already:
            host.noop("proven")
            return
        yield FunctionCommand(_prove, (commands,), {})
        yield script(f"mkdir -p {shlex.quote(str(Path(proven).parent))} && echo {digest} > {shlex.quote(proven)}")

    return converge(name, holds(f'[ "$(cat {shlex.quote(proven)})" = {digest} ]'), prove)


def _prove(state: State, host: Host, commands: dict[str, str]) -> bool:
    """Has the form in which pyinfra takes the result for the operation's."""
    members = [state.inventory.get_host(member) for member in commands]
    absent = [member.name for member in members if not member.connected]
    if absent:
        host.log_styled(f"{', '.join(absent)} must be in this deploy, to prove the network between the hosts", fg="red")
        return False

    def check(member: Host) -> tuple[str, str]:
        good, output = member.run_shell_command(
            script(commands[member.name]), _sudo=state.config.SUDO, _timeout=SECONDS
        )
        return output.stdout, "" if good else (output.stderr_lines or [""])[-1]

    running = {member.name: gevent.spawn(check, member) for member in members}
    proof = proof_of({name: each.get() for name, each in running.items()})
    for problem in proof.problems:
        host.log_styled(problem, fg="red")
    if proof.gbit:
        host.log(f"all-reduce over {proof.report['interface']}: {proof.gbit:.1f} Gbit/s of bus bandwidth")
    return not proof.problems
