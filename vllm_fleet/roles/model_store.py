"""GPU hosts: the weights, fetched once a pinned revision to local disk and checked byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet import paths
from vllm_fleet.engine.weights import FETCH_PROGRAM, PEER_PROGRAM, complete, fetch_command, token_path
from vllm_fleet.operations import copy_weights, fetch_weights, tree
from vllm_fleet.planner import Placement, on_host
from vllm_fleet.planner.peers import holders, rounds, source_of
from vllm_fleet.render.files import Directory, File
from vllm_fleet.schema import Fleet, Hub

_PAYLOAD = Path(__file__).parents[1] / "payload"


@deploy("Model store")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The weights of this host's engines. Of hosts that need the same, the first asks the hub and the others copy."""
    programs = {FETCH_PROGRAM: "fetch_hub.py", PEER_PROGRAM: "peer_weights.py"}
    files = [File(path, (_PAYLOAD / name).read_text(encoding="utf-8")) for path, name in programs.items()]
    tree(name="Model store", entries=[Directory(paths.MODELS), *files])
    wanted = {one.service.model.directory_name: one for one in on_host(placements, host.name)}
    # a round begins when the one before is over on all hosts
    for number in host.loop(range(rounds(placements))):
        for placement in host.loop(list(wanted.values())):
            source = placement.service.model
            turn, peer = source_of(holders(placements, source.directory_name), host.name)
            if turn != number:
                continue
            if peer:
                copy_weights(
                    f"Weights of {source.name} from a peer", **_how(placement), peer=peer, port=fleet.weights_port
                )
            else:
                fetch_weights(f"Weights of {source.name}", **_how(placement), at_once=fleet.fetches_at_once)


def _how(placement: Placement) -> dict[str, Any]:
    source = placement.service.model
    token = source.token if isinstance(source, Hub) else None
    return {
        "source": source,
        "command": fetch_command(placement),
        "complete": complete(placement),
        "token": (token_path(placement.service.name), token) if token else None,
    }
