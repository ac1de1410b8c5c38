"""GPU hosts: what engines run in. Docker (new enough for CDI) and images, or virtual environments of locked wheels."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import deploy

from vllm_fleet.engine.command import venv_command, venv_directory
from vllm_fleet.operations import require, run_unless, tree
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File
from vllm_fleet.render.runtime import daemon_file, repository_files
from vllm_fleet.schema import Container, Fleet, Host, Venv
from vllm_fleet.tree import Unit

# What vLLM's wheels take from the system: libnuma for its CPU kernels; a compiler and Python's headers for Triton,
# which builds kernels when a model first runs.
VENV_PACKAGES = {"cpu": ["libnuma1"], "cuda": ["gcc", "libc6-dev", "libnuma1", "python3-dev"]}


def apply(fleet: Fleet, here: Host, placements: list[Placement]) -> None:
    """Everything the engines of this host (`placements`) run in, before the first of them is touched."""
    runtimes = [placement.service.runtime for placement in placements]
    images = sorted({runtime.image for runtime in runtimes if isinstance(runtime, Container)})
    if images:
        containers(fleet, here, images)
    venvs = {venv_directory(runtime): runtime for runtime in runtimes if isinstance(runtime, Venv)}
    if venvs:
        devices = {placement.service.device for placement in placements}
        virtual_environments(venvs, sorted({name for device in devices for name in VENV_PACKAGES[device]}))


@deploy("Containers")
def containers(fleet: Fleet, here: Host, images: list[str]) -> None:
    """Docker, its settings, and the images by digest."""
    versions = fleet.versions
    if versions.docker_repository:
        tree(name="Docker's package source", entries=repository_files(versions.docker_repository))
    daemon = daemon_file(versions)
    tree(
        name="Docker",
        packages=versions.docker_packages,
        entries=[daemon],
        check=docker_is_at_least(versions.docker_minimum),
        units=[Unit("docker.service", restart_on=(daemon,))],
    )
    if here.gpus:
        require(
            name="GPUs are visible as CDI devices",
            test="ls /etc/cdi/ /var/run/cdi/ | grep nvidia",
            message=f"{here.name}: declares {here.gpus} GPUs but has no CDI specification; set "
            "versions.nvidia_packages, or install driver and nvidia-container-toolkit yourself and run `nvidia-ctk cdi "
            "generate --output=/etc/cdi/nvidia.yaml`",
        )
    for image in host.loop(images):
        run_unless(
            name=f"Pull {image.split('@')[0]}",
            command=f"docker pull --quiet {shlex.quote(image)}",
            test=f"docker image inspect {shlex.quote(image)}",
            at_once=fleet.fetches_at_once,
        )


def docker_is_at_least(minimum: int) -> str:
    """A check that says in one line what to do about an older one, before its settings change."""
    older = (
        f"Docker is older than {minimum}, which CDI needs: set versions.docker_repository to Docker's own repository "
        "or a mirror of it"
    )
    version = "docker --version | sed 's/[^0-9]*\\([0-9]*\\).*/\\1/'"
    return f'[ "$({version})" -ge {minimum} ] || {{ echo {shlex.quote(older)} >&2; exit 1; }}'


@deploy("Virtual environments")
def virtual_environments(venvs: dict[str, Venv], system_packages: list[str]) -> None:
    """One virtual environment a lock file; pip refuses a wheel whose hash is not in it."""
    locks = [File(f"{directory}.lock", venv.lock()) for directory, venv in venvs.items()]
    tree(name="What wheels expect of the system", packages=system_packages, entries=locks)
    for directory, venv in host.loop(list(venvs.items())):
        run_unless(
            name=f"Virtual environment {directory}",
            command=venv_command(directory, venv),
            test=f"[ -f {directory}/.complete ]",
        )
