"""Engines: those that are no longer declared go, the others are waited for."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.operation import OperationMeta

from vllm_fleet import paths
from vllm_fleet.converge import Commands, converge
from vllm_fleet.facts import holds, names_in


def remove_engines(name: str, keep: list[str]) -> OperationMeta:
    """Stop and remove the engines that are no longer placed on this host; their caches go too, weights stay."""

    def remove(there: list[str]) -> Commands:
        extra = [instance for instance in there if instance not in keep]
        for instance in extra:
            unit = shlex.quote(f"vllm-{instance}.service")
            yield f"systemctl disable --now {unit}; rm -f {paths.UNITS}/{unit}; systemctl daemon-reload"
            yield f"rm -rf {shlex.quote(paths.engine(instance))} {shlex.quote(paths.cache(instance))}"
        if not extra:
            host.noop("no other engine is here")

    return converge(name, names_in(paths.ENGINES), remove)


def await_engines(name: str, seconds: dict[str, int]) -> OperationMeta:
    """Wait until engines answer real completions; fails with the phase each was in and its last error lines.

    The program on the host puts the last release that answered back when the new one does not.

    + seconds: how long each may take, by instance
    """
    instances = shlex.join(seconds)
    # `good` too, for an engine that was quicker than the deploy's look at it has not been noted as good yet
    noted = [f'[ "$(readlink {at}/good)" = "$(readlink {at}/current)" ]' for at in map(paths.engine, seconds)]

    def wait(answer: bool) -> Commands:
        if answer:
            host.noop(f"{', '.join(seconds)} answer")
            return
        yield StringCommand(wait_command(seconds), _timeout=wait_seconds(seconds))

    question = holds(" && ".join([*noted, f"{paths.READY_COMMAND} {instances} --once"]))
    return converge(name, question, wait, of_fleet=True)


def wait_command(seconds: dict[str, int]) -> str:
    """The program on the host that waits until these engines answer, by instance; it keeps the time itself."""
    return f"{paths.READY_COMMAND} {shlex.join(seconds)} --wait"


def wait_seconds(seconds: dict[str, int]) -> int:
    """How long that may take: twice over, for the new release, and on failure for the one put back."""
    return 2 * sum(seconds.values()) + 120
