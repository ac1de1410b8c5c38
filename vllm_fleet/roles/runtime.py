"""GPU hosts: what engines run in. Docker (new enough for CDI) and images, or virtual environments of locked wheels."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import apt

from vllm_fleet.engine.command import venv_command, venv_directory
from vllm_fleet.operations import put_files, require, run_unless, running
from vllm_fleet.planner.placement import Placement
from vllm_fleet.render.files import File
from vllm_fleet.render.runtime import daemon_file, repository_files
from vllm_fleet.schema import AptRepository, Container, Host, Venv, Versions

# What vLLM's wheels take from the system: libnuma for its CPU kernels; a compiler and Python's headers for Triton,
# which builds kernels when a model first runs.
VENV_PACKAGES = {"cpu": ["libnuma1"], "cuda": ["gcc", "libc6-dev", "libnuma1", "python3-dev"]}


def apply(versions: Versions, here: Host, placements: list[Placement]) -> None:
    """Everything the engines of this host (`placements`) run in, before the first of them is touched."""
    runtimes = [placement.service.runtime for placement in placements]
    images = sorted({runtime.image for runtime in runtimes if isinstance(runtime, Container)})
    if images:
        containers(versions, here, images)
    venvs = {venv_directory(runtime): runtime for runtime in runtimes if isinstance(runtime, Venv)}
    if venvs:
        devices = {placement.service.device for placement in placements}
        virtual_environments(venvs, sorted({name for device in devices for name in VENV_PACKAGES[device]}))


@deploy("Containers")
def containers(versions: Versions, here: Host, images: list[str]) -> None:
    """Docker, its settings, and the images by digest."""
    if versions.docker_repository:
        _repository(versions.docker_repository)
    # before the package: its first start then already has the settings
    daemon = put_files(name="Docker settings", files=[daemon_file(versions)])
    apt.packages(name="Install Docker", packages=versions.docker_packages, no_recommends=True)
    run_unless(
        name=f"Docker is at least {versions.docker_minimum}",
        command=f"echo 'Docker is older than {versions.docker_minimum}, which CDI needs: set "
        f"versions.docker_repository to Docker own repository or a mirror of it' >&2; false",
        test=f'[ "$(docker version --format "{{{{.Server.Version}}}}" | cut -d. -f1)" -ge {versions.docker_minimum} ]',
    )
    running(name="Docker runs", unit="docker.service", restart_on=[daemon])
    if here.gpus:
        require(
            name="GPUs are visible as CDI devices",
            test="ls /etc/cdi/ /var/run/cdi/ | grep nvidia",
            message=f"{here.name}: declares {here.gpus} GPUs but has no CDI specification; install the NVIDIA driver "
            "and nvidia-container-toolkit, then run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`",
        )
    for image in host.loop(images):
        run_unless(
            name=f"Pull {image.split('@')[0]}",
            command=f"docker pull --quiet {shlex.quote(image)}",
            test=f"docker image inspect {shlex.quote(image)}",
        )


@deploy("Virtual environments")
def virtual_environments(venvs: dict[str, Venv], packages: list[str]) -> None:
    """One virtual environment a lock file; pip refuses a wheel whose hash is not in it."""
    apt.packages(name="Install what wheels expect of the system", packages=packages, no_recommends=True)
    for directory, venv in host.loop(list(venvs.items())):
        put_files(name="Lock file", files=[File(f"{directory}.lock", venv.lock())])
        run_unless(
            name=f"Virtual environment {directory}",
            command=venv_command(directory, venv),
            test=f"[ -f {directory}/.complete ]",
        )


def _repository(repository: AptRepository) -> None:
    """A package source of which only the named packages are taken."""
    source = put_files(name="Docker's package source", files=repository_files(repository))
    apt.update(name="Read Docker's package source", _if=source.did_change)
