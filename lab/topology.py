"""What the lab consists of: names, addresses, ports and paths. Data only; everything else refers to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# One lab per machine: the bridge, the addresses and the cgroup are constants on purpose.
BRIDGE = "vfleet0"
PREFIX_LENGTH = 24
SUBNET = "10.231.77.0/24"
BRIDGE_ADDRESS = "10.231.77.1"
CGROUP = "vllm-fleet-lab"

# LAB_NODES=24: as many plain hosts instead of the three, with what roles install already there, no mirrors and no
# engine, to measure deploys with (bench/).
NODES = int(os.environ.get("LAB_NODES", "0"))
HOSTS: dict[str, str] = {f"node-{number}": f"10.231.77.{100 + number}" for number in range(1, NODES + 1)} or {
    "gpu-1": "10.231.77.11",
    "gpu-2": "10.231.77.12",
    "ops-1": "10.231.77.21",
}
USER = "deploy"
PYTHON = "/usr/bin/python3.11"

# The mirrors, all on BRIDGE_ADDRESS.
APT_PORT = 3142
REGISTRY_PORT = 5000
FILES_PORT = 8081
HUB_PORT = 8082
WEBHOOKS_PORT = 8083

APT_PROXY = f"http://{BRIDGE_ADDRESS}:{APT_PORT}"
REGISTRY = f"{BRIDGE_ADDRESS}:{REGISTRY_PORT}"
FILES_URL = f"http://{BRIDGE_ADDRESS}:{FILES_PORT}"
DOCKER_APT_URL = f"{FILES_URL}/docker/"
NVIDIA_APT_URL = f"{FILES_URL}/nvidia/"
GRAFANA_APT_URL = f"{FILES_URL}/grafana/"
WHEELS_URL = f"{FILES_URL}/wheels/"
HUB_ENDPOINT = f"http://{BRIDGE_ADDRESS}:{HUB_PORT}"
WEBHOOKS_URL = f"http://{BRIDGE_ADDRESS}:{WEBHOOKS_PORT}"

RELEASES = ("trixie", "bookworm")
DEFAULT_RELEASE = "trixie"
# PyTorch's CPU build in reach may exist for Python 3.11 only, which is bookworm's Python.
ENGINE_RELEASE = "bookworm"

ENGINE_IMAGE_NAME = "vllm-cpu"
MODEL_REPO = "vllm-fleet/tiny-llama"
MODEL_NAME = "tiny-llama"

# Directories on a host's own disk, not on its overlay: Docker's and containerd's snapshots are overlays
# themselves, and the kernel refuses an overlay whose upper directory lies on an overlay.
PLAIN_DIRECTORIES = ("/var/lib/docker", "/var/lib/containerd")


@dataclass(frozen=True)
class Paths:
    """Where the lab keeps things: all of it below `.lab/` of one checkout."""

    repo: Path

    @property
    def lab(self) -> Path:
        return self.repo / ".lab"

    @property
    def cache(self) -> Path:
        """Downloads and what is made from them; survives `down`."""
        return self.lab / "cache"

    @property
    def run(self) -> Path:
        """The hosts' disks, logs and process records; gone after `down`."""
        return self.lab / "run"

    @property
    def logs(self) -> Path:
        return self.lab / "logs"

    @property
    def ssh(self) -> Path:
        return self.lab / "ssh"

    @property
    def ssh_config(self) -> Path:
        return self.ssh / "config"

    @property
    def state(self) -> Path:
        """The facts of the lab in use: with LAB_NODES another file, which no inventory of the lab takes for its own."""
        return self.nodes if NODES else self.lab / "state.json"

    @property
    def nodes(self) -> Path:
        return self.lab / "nodes.json"

    @property
    def secrets(self) -> Path:
        """API keys, certificate and CA of this lab; gone after `down`."""
        return self.lab / "secrets"

    @property
    def lock(self) -> Path:
        return self.lab / "lock"

    @property
    def wheels(self) -> Path:
        return self.cache / "wheels"

    @property
    def docker_debs(self) -> Path:
        """A flat apt repository of the newer release's Docker, for bookworm hosts."""
        return self.cache / "docker"

    @property
    def nvidia_debs(self) -> Path:
        """A flat apt repository of the stand-ins for NVIDIA's packages."""
        return self.cache / "nvidia"

    @property
    def grafana_debs(self) -> Path:
        """A flat apt repository of the stand-in for Grafana."""
        return self.cache / "grafana"

    @property
    def files(self) -> Path:
        """What the HTTP file mirror serves."""
        return self.cache / "files"

    @property
    def registry(self) -> Path:
        return self.cache / "registry"

    @property
    def apt(self) -> Path:
        return self.cache / "apt"

    @property
    def model(self) -> Path:
        return self.cache / "model"

    def tools(self, release: str) -> Path:
        """The programs of a release that check rendered files."""
        return self.cache / "tools" / release

    @property
    def engine_requirements(self) -> Path:
        return self.cache / "engine-requirements.txt"

    def host(self, name: str) -> Path:
        return self.run / "hosts" / name


PATHS = Paths(Path(__file__).resolve().parent.parent)


def release() -> str:
    """The Debian release of the hosts: LAB_RELEASE, or trixie."""
    return os.environ.get("LAB_RELEASE", DEFAULT_RELEASE)
