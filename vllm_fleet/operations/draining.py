"""Takes the replicas of a host out of service at every gateway, and puts them back.

What is drained is noted on the host first, so a deploy that is cut off leaves nothing drained for ever: the next one
finds the note and admits what it names.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from pyinfra import logger
from pyinfra.api import Host

from vllm_fleet.driver import scripts
from vllm_fleet.network import admin
from vllm_fleet.network.admin import Server, State
from vllm_fleet.operations.shell import Failed, run

_POLL_SECONDS = 1


def gateways_of(here: Host, names: Iterable[str]) -> list[Host]:
    """The gateways, connected. Raises Failed where this deploy leaves one out (`--limit`)."""
    gateways = [here.inventory.get_host(name) for name in names]
    for gateway in gateways:
        if not gateway.connected:
            raise Failed(
                f"{here.name}: cannot be drained, for this deploy is not connected to gateway {gateway.name}; deploy "
                f"without --limit, or add --limit {gateway.name}"
            )
    return gateways


def drain(here: Host, gateways: Sequence[Host], seconds: Mapping[Server, int], noted: Sequence[str]) -> list[str]:
    """No new requests to these servers, and wait until none is under way, at most so many `seconds` each.

    What somebody else took out stays theirs. Gives all that is noted now, with what was `noted` before.
    """
    known = {gateway.name: _states(gateway, seconds) for gateway in gateways}
    ours = {name: [server for server, state in states.items() if state.admitted] for name, states in known.items()}
    lines = [f"{name} {server.path}" for name, servers in ours.items() for server in servers]
    drained = list(dict.fromkeys([*noted, *lines]))
    run(here, scripts.note(drained))
    try:
        for gateway in gateways:
            _tell(gateway, map(admin.drain, ours[gateway.name]))
    except Failed:
        admit(here, gateways, drained, {})
        raise
    for gateway in gateways:
        _wait_until_idle(gateway, seconds)
    return drained


def admit(here: Host, gateways: Sequence[Host], drained: Sequence[str], seconds: Mapping[Server, int]) -> None:
    """Requests may go to what was drained, and do: waits so many `seconds` until the gateways' checks succeed too.

    Raises Failed for a server that a gateway does not see up by then; the note is gone all the same.
    """
    for gateway in gateways:
        named = [Server(*path.split("/", 1)) for path in _paths(drained, gateway)]
        there = _states(gateway, dict.fromkeys(named, 0))
        _tell(gateway, [admin.admit(server) for server in named if server in there])
    run(here, scripts.note([]))
    for gateway in gateways:
        named_here = set(_paths(drained, gateway))
        _wait_until_up(gateway, {server: each for server, each in seconds.items() if server.path in named_here})


def _paths(drained: Sequence[str], gateway: Host) -> list[str]:
    rows = [line.split(" ", 1) for line in drained]
    return [path for name, path in rows if name == gateway.name]


def _states(gateway: Host, servers: Iterable[Server]) -> dict[Server, State]:
    """What a gateway says of these servers; it may not know them yet."""
    wanted = set(servers)
    if not wanted:
        return {}
    services = sorted({server.service for server in wanted})
    found = admin.states(run(gateway, admin.ask(admin.show(services))))
    return {server: found[server] for server in sorted(wanted & set(found), key=lambda server: server.path)}


def _tell(gateway: Host, commands: Iterable[str]) -> None:
    """HAProxy answers a `set` that it obeys with an empty line."""
    wanted = list(commands)
    said = [line for line in run(gateway, admin.ask(wanted)) if line.strip()] if wanted else []
    if said:
        raise Failed(f"{gateway.name}: HAProxy refuses `{'; '.join(wanted)}`: {said[0]}")


def _wait_until_idle(gateway: Host, seconds: Mapping[Server, int]) -> None:
    begin = time.monotonic()
    left = dict(seconds)
    while left:
        states = _states(gateway, left)
        left = {server: each for server, each in left.items() if server in states and states[server].requests}
        for server in [server for server, each in left.items() if time.monotonic() - begin >= each]:
            requests, waited = states[server].requests, left.pop(server)
            logger.warning(
                "%s: %s still has %d requests after %d s; they are cut off", gateway.name, server.path, requests, waited
            )
        if left:
            time.sleep(_POLL_SECONDS)  # between looks; bounded by each server's seconds


def _wait_until_up(gateway: Host, seconds: Mapping[Server, int]) -> None:
    begin = time.monotonic()
    left = dict(seconds)
    while left:
        states = _states(gateway, left)
        left = {server: each for server, each in left.items() if server in states and not states[server].up}
        for server, each in left.items():
            if time.monotonic() - begin >= each:
                raise Failed(
                    f"{gateway.name}: {server.path} is {states[server].status} {each} s after it was admitted; look at "
                    f"`journalctl -u haproxy` there"
                )
        if left:
            time.sleep(_POLL_SECONDS)  # between looks; bounded by each server's seconds
