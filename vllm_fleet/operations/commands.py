"""Single commands with a test before them, and where all hosts meet."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.operation import OperationMeta

from vllm_fleet.converge import Commands, converge
from vllm_fleet.facts import holds
from vllm_fleet.operations.shell import script


def run_unless(name: str, command: str, test: str, at_once: int = 0) -> OperationMeta:
    """Run a shell command unless a read-only test already succeeds; on so many hosts at once, 0 for all."""

    def run(already: bool) -> Commands:
        if already:
            host.noop("already so")
            return
        yield script(command)

    return converge(name, holds(test), run, at_once=at_once)


def require(name: str, test: str, message: str) -> OperationMeta:
    """Fail the host with a one-line message unless a read-only test succeeds."""
    return run_unless(name, f"echo {shlex.quote(message)} >&2; exit 1", test)


@operation()
def all_hosts_here() -> Commands:
    """Nothing on a host; but all hosts get here before any goes on.

    pyinfra lets each host run ahead on its own chain of operations (state.get_op_order, 3.10); an operation that all
    hosts have in common is where the chains meet.
    """
    host.noop("here")
    yield from ()
