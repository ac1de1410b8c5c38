"""GPU hosts: the weights, fetched once a pinned revision to local disk and checked byte for byte."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from vllm_fleet import paths
from vllm_fleet.engine.weights import FETCH_PROGRAM, complete, fetch_command, token_path
from vllm_fleet.operations import fetch_weights, put_files
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File
from vllm_fleet.schema import Hub


@deploy("Model store")
def apply(placements: list[Placement]) -> None:
    """The weights of this host's engines."""
    files.directory(name="Model store", path=paths.MODELS, user="root", group="root", mode="755")
    program = Path(__file__).parents[1] / "payload" / "fetch_hub.py"
    put_files(name="Fetch program", files=[File(FETCH_PROGRAM, program.read_text(encoding="utf-8"))])
    wanted = {placement.service.model.directory_name: placement for placement in placements}
    for placement in host.loop(list(wanted.values())):
        source = placement.service.model
        token = source.token if isinstance(source, Hub) else None
        fetch_weights(
            name=f"Weights of {source.name}",
            source=source,
            command=fetch_command(placement),
            complete=complete(placement),
            token=(token_path(placement.service.name), token) if token else None,
        )
