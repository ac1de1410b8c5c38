"""GPU hosts: each engine's release, secret and unit; restarted when one of them changed."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet import paths
from vllm_fleet.engine.command import FOLLOW_PROGRAM
from vllm_fleet.engine.fabric import fabric_digest, proof_command
from vllm_fleet.engine.release import release
from vllm_fleet.operations import await_engines, prove_fabric, remove_engines, tree
from vllm_fleet.planner.placement import Placement, on_host, ranks_of
from vllm_fleet.render.engine import release_files, secret_file, unit_file
from vllm_fleet.render.files import Directory, Entry, File, Link
from vllm_fleet.schema import Fleet
from vllm_fleet.tree import Unit

_PAYLOAD = Path(__file__).parents[1] / "payload"


@deploy("Engines")
def apply(fleet: Fleet, placements: list[Placement]) -> None:
    """The engines of this host, started but not waited for."""
    here, api_keys = on_host(placements, host.name), fleet.engine_keys()
    tree(name="Programs", entries=programs())
    for placement in host.loop([one for one in here if one.head and one.spans_hosts]):
        prove_fabric(
            name=f"Network between the hosts of {placement.service.name}",
            proven=f"{paths.FABRIC_PROOFS}/{placement.instance}",
            digest=fabric_digest(placement),
            commands={
                rank.host.name: proof_command(rank, fleet.fabric_port) for rank in ranks_of(placements, placement)
            },
        )
    engines = [_engine(placement, api_keys[placement.service.name]) for placement in here]
    tree(
        name="Engines",
        entries=[entry for entries, _ in engines for entry in entries],
        check="; ".join(["set -e", *(_check(placement) for placement in here)]),
        units=[unit for _, unit in engines],
    )
    remove_engines(name="No other engines", keep=[placement.instance for placement in here])


def programs() -> list[File]:
    """What runs on a host beside vLLM: follows a container, asks an engine, joins the hosts of a model, proves them."""
    packages = {paths.READINESS: "readiness", paths.GROUP: "group", paths.FABRIC_CHECK: "fabric_check"}
    return [
        File(FOLLOW_PROGRAM, (_PAYLOAD / "follow-container").read_text(encoding="utf-8"), "0755"),
        *(
            File(f"{directory}/{module.name}", module.read_text(encoding="utf-8"))
            for directory, package in packages.items()
            for module in sorted((_PAYLOAD / package).glob("*.py"))
        ),
    ]


def _engine(placement: Placement, api_key: str) -> tuple[list[Entry], Unit]:
    """What an engine needs on its host, and its unit, which restarts when the release, the key or itself changed."""
    instance, wanted = placement.instance, release(placement)
    secret, unit = secret_file(placement, api_key), unit_file(placement)
    current = Link(f"{paths.engine(instance)}/current", f"releases/{wanted.id}")
    cache = Directory(paths.cache(instance), "0750", owner=paths.SERVICE_USER)
    return [cache, *release_files(wanted), secret, unit, current], Unit(placement.unit, (secret, unit, current))


def _check(placement: Placement) -> str:
    """systemd must take the unit; it looks for the program too, which is still beside its place."""
    unit = f'"$stage/{placement.unit}"'
    staged = f'sed "s|={paths.ENGINES}/|=$stage{paths.ENGINES}/|" "$stage{paths.UNITS}/{placement.unit}"'
    return f"{staged} > {unit}; systemd-analyze verify {unit}"


@deploy("Readiness")
def ready(placements: list[Placement]) -> None:
    """Every engine of this host answers a real completion, or the deploy fails and says why."""
    here = on_host(placements, host.name)
    seconds = {placement.instance: placement.service.start_seconds for placement in here}
    if seconds:  # a spare host has none
        await_engines(name="Every engine answers", seconds=seconds)
