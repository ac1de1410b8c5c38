"""GPU hosts: each engine's release, secret and unit; restarted when one of them changed."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from vllm_fleet import paths
from vllm_fleet.engine.command import FOLLOW_PROGRAM
from vllm_fleet.engine.release import release
from vllm_fleet.operations import await_engine, link, put_files, remove_engines, remove_old_releases, running
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.engine import release_files, secret_file, unit_file
from vllm_fleet.render.files import File

_PAYLOAD = Path(__file__).parents[1] / "payload"


@deploy("Engines")
def apply(placements: list[Placement], api_keys: dict[str, str]) -> None:
    """The engines of this host, started but not waited for. `api_keys` are by service name."""
    put_files(name="Programs", files=programs())
    for placement in host.loop(placements):
        _engine(placement, api_keys[placement.service.name])
    remove_engines(name="No other engines", keep=[placement.instance for placement in placements])


def programs() -> list[File]:
    """What runs on a host beside vLLM: the follower of a container, and the package that asks an engine."""
    modules = sorted((_PAYLOAD / "readiness").glob("*.py"))
    return [
        File(FOLLOW_PROGRAM, (_PAYLOAD / "follow-container").read_text(encoding="utf-8"), "0755"),
        *(File(f"{paths.READINESS}/{module.name}", module.read_text(encoding="utf-8")) for module in modules),
    ]


def _engine(placement: Placement, api_key: str) -> None:
    instance, wanted = placement.instance, release(placement)
    files.directory(
        name=f"Cache of {instance}",
        path=paths.cache(instance),
        user=paths.SERVICE_USER,
        group="root",
        mode="750",
    )
    put_files(name=f"Release {wanted.id} of {instance}", files=release_files(wanted))
    secret = put_files(name=f"API key of {instance}", files=[secret_file(placement, api_key)])
    current = link(
        name=f"Release {wanted.id} is current for {instance}",
        path=f"{paths.engine(instance)}/current",
        target=f"releases/{wanted.id}",
    )
    # after the link, for the check wants to find what the unit runs
    unit = put_files(
        name=f"Unit of {instance}",
        files=[unit_file(placement)],
        check=f'systemd-analyze verify "$stage{paths.UNITS}/{placement.unit}"',
    )
    running(name=f"Engine {instance} runs", unit=placement.unit, restart_on=[secret, unit, current])


@deploy("Readiness")
def ready(placements: list[Placement]) -> None:
    """Every engine of this host answers a real completion, or the deploy fails and says why."""
    for placement in host.loop(placements):
        await_engine(
            name=f"Engine {placement.instance} answers",
            instance=placement.instance,
            seconds=placement.service.start_seconds,
        )
        remove_old_releases(
            name=f"Keep the last releases of {placement.instance}",
            directory=f"{paths.engine(placement.instance)}/releases",
        )
