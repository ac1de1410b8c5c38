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

READY_PROGRAM = f"{paths.PROGRAMS}/ready.py"


@deploy("Engines")
def apply(placements: list[Placement], api_keys: dict[str, str]) -> None:
    """The engines of this host, started but not waited for. `api_keys` are by service name."""
    put_files(
        name="Programs", files=[_program("ready.py", READY_PROGRAM), _program("follow-container", FOLLOW_PROGRAM)]
    )
    for placement in host.loop(placements):
        _engine(placement, api_keys[placement.service.name])
    remove_engines(name="No other engines", keep=[placement.instance for placement in placements])


def _program(source: str, path: str) -> File:
    return File(path, (Path(__file__).parents[1] / "payload" / source).read_text(encoding="utf-8"), "0755")


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
            program=READY_PROGRAM,
            seconds=placement.service.start_seconds,
        )
        remove_old_releases(
            name=f"Keep the last releases of {placement.instance}",
            directory=f"{paths.engine(placement.instance)}/releases",
        )
