"""The command of an engine: the container that is made for it, or a program of a virtual environment."""

from __future__ import annotations

import shlex
from urllib.parse import urlsplit

from vllm_fleet import paths
from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.engine.ray import member_command
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Container, Venv
from vllm_fleet.schema.host import RDMA

DOCKER = "/usr/bin/docker"
FOLLOW_PROGRAM = f"{paths.PROGRAMS}/follow-container"


def container_name(placement: Placement) -> str:
    return f"vllm-{placement.instance}"


def start_command(placement: Placement) -> list[str]:
    """The whole argv: what makes the container, or the engine's main process itself."""
    runtime = placement.service.runtime
    with_ray = placement.service.executor == "ray"
    if isinstance(runtime, Container):
        create = _docker_create(placement)
        if with_ray:
            program, *arguments = member_command(placement)
            return [*create, "--entrypoint", program, runtime.image, *arguments]
        return [*create, runtime.image, *serve_arguments(placement)]
    programs = f"{venv_directory(runtime)}/bin/"
    if with_ray:
        return member_command(placement, programs)
    return [f"{programs}vllm", "serve", *serve_arguments(placement)]


def stop_command(placement: Placement) -> list[str]:
    """What lets a container finish its requests and end; empty for a process, which a signal ends."""
    if isinstance(placement.service.runtime, Container):
        # SIGINT, which the container names; killed where it has not ended 10 s after its own time
        return [DOCKER, "stop", "--time", str(placement.service.drain_seconds + 10), container_name(placement)]
    return []


def venv_directory(runtime: Venv) -> str:
    """One directory a lock file and interpreter: engines with the same lock share it, a new lock gets a new one."""
    return f"{paths.VENVS}/{runtime.digest}"


def venv_command(directory: str, venv: Venv) -> str:
    """Shell that builds a virtual environment from `<directory>.lock`; the file `.complete` in it comes last."""
    source = f"--no-index --find-links {shlex.quote(venv.find_links)}" if venv.find_links else ""
    trusted = ""
    if venv.find_links and venv.find_links.startswith("http://"):
        # plain HTTP on a trusted network: what arrives is checked against the lock's hashes all the same
        trusted = f"--trusted-host {shlex.quote(urlsplit(venv.find_links).netloc)}"
    install = f"{directory}/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes"
    return (
        f"rm -rf {directory} && {shlex.quote(venv.python)} -m venv {directory}"
        f" && {install} {source} {trusted} --requirement {directory}.lock && touch {directory}/.complete"
    )


def _docker_create(placement: Placement) -> list[str]:
    instance = placement.instance
    model = paths.model(placement.service.model.directory_name)
    return [
        DOCKER, "create", "--name", container_name(placement),
        *container_walls(placement),
        "--stop-signal", "SIGINT",
        "--env-file", f"{paths.engine(instance)}/current/environment",
        "--volume", f"{model}:{model}:ro",
        "--volume", f"{paths.secret(instance)}:{paths.secret(instance)}:ro",
        "--volume", f"{paths.cache(instance)}:{paths.cache(instance)}",
        *container_devices(placement),
    ]  # fmt: skip


def container_walls(placement: Placement) -> list[str]:
    """What every container of an engine may do and use."""
    return [
        # the image is pulled before the old engine stops; here a missing one is an error, not a long wait
        "--pull", "never",
        "--network", "host",
        # own shared memory: with --ipc=host a killed engine would leave /dev/shm/psm_* behind on the host
        "--shm-size", "16g",
        "--user", f"{paths.SERVICE_UID}:0",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        *_memlock(placement),
    ]  # fmt: skip


def container_devices(placement: Placement) -> list[str]:
    """The engine's GPUs, and the HCAs between its hosts."""
    gpus = [part for gpu in placement.gpus for part in ("--device", f"nvidia.com/gpu={gpu}")]
    rdma = placement.host.joined_by in RDMA and placement.spans_hosts
    return [*gpus, *(["--device", "/dev/infiniband"] if rdma else [])]


def _memlock(placement: Placement) -> list[str]:
    """RDMA registers its buffers as locked memory."""
    return ["--ulimit", "memlock=-1:-1"] if placement.service.device == "cuda" else []
