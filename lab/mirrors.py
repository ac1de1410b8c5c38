"""The mirrors on the bridge: Debian packages, Python wheels and other files, images, models; and a receiver of alerts.

The daemons come from Debian but run from a root of their own (lab.base.mirror_root), read-only but for their data,
so that the machine gets no new services. All listen on the bridge's address only.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from lab import apt, cgroup, shell
from lab.errors import LabError
from lab.supervisor import Child
from lab.topology import APT_PORT, BRIDGE_ADDRESS, FILES_PORT, HUB_PORT, REGISTRY_PORT, WEBHOOKS_PORT, Paths

PORTS = {
    "apt": APT_PORT,
    "registry": REGISTRY_PORT,
    "files": FILES_PORT,
    "hub": HUB_PORT,
    "webhooks": WEBHOOKS_PORT,
}
ANSWER_DEADLINE = 30.0


def run_inside(root: Path, binds: dict[Path, str], argv: list[str]) -> list[str]:
    """A command in the mirror root, sharing the machine's network; many may share the read-only root at once."""
    return [
        "systemd-nspawn", "--quiet", f"--directory={root}", "--read-only", "--as-pid2", "--console=pipe",
        "--register=no", "--keep-unit", "--resolv-conf=bind-host", "--timezone=off",
        *(f"--bind={outside}:{inside}" for outside, inside in binds.items()),
        *argv,
    ]  # fmt: skip


def build_inside(root: Path, binds: dict[Path, str], argv: list[str]) -> list[str]:
    """The same for a step of `up`, in the lab's cgroup so that `down` ends it if `up` was killed."""
    return cgroup.inside("build", run_inside(root, binds, argv))


def apt_cache_config(proxy: str) -> str:
    """apt-cacher-ng without its default remapping, which would exchange the site that a host asked for."""
    lines = [
        "CacheDir: /var/cache/apt-cacher-ng",
        "LogDir: /var/cache/apt-cacher-ng",
        f"BindAddress: {BRIDGE_ADDRESS}",
        f"Port: {APT_PORT}",
        "ForeGround: 1",
        "ExThreshold: 30",
        *([f"Proxy: {proxy}"] if proxy else []),
    ]
    return "\n".join(lines) + "\n"


def registry_config() -> str:
    """An image registry without authentication (it is reachable from the bridge only)."""
    return (
        "version: 0.1\n"
        "storage:\n"
        "  filesystem:\n"
        "    rootdirectory: /var/lib/docker-registry\n"
        "http:\n"
        f"  addr: {BRIDGE_ADDRESS}:{REGISTRY_PORT}\n"
    )


def children(root: Path, paths: Paths) -> list[Child]:
    """The mirrors as the supervisor's children; writes their configuration and makes their directories."""
    config = paths.run / "mirrors"
    for directory in (config, paths.apt, paths.registry, paths.files):
        directory.mkdir(parents=True, exist_ok=True)
    for published in (paths.wheels, paths.docker_debs, paths.nvidia_debs, paths.grafana_debs):
        link = paths.files / published.name
        if not link.is_symlink():
            link.symlink_to(f"../{published.name}")
    (config / "acng.conf").write_text(apt_cache_config(apt.machine_proxy()))
    (config / "registry.yml").write_text(registry_config())
    commands = {
        "apt": run_inside(root, {paths.apt: "/var/cache/apt-cacher-ng", config: "/mnt"},
                          ["apt-cacher-ng", "-c", "/mnt"]),
        "registry": run_inside(root, {paths.registry: "/var/lib/docker-registry", config: "/mnt"},
                               ["docker-registry", "serve", "/mnt/registry.yml"]),
        "files": [sys.executable, "-m", "http.server", "--bind", BRIDGE_ADDRESS, "--directory", str(paths.files),
                  str(FILES_PORT)],
        "hub": [sys.executable, "-m", "lab.hub"],
        "webhooks": [sys.executable, "-m", "lab.webhooks"],
    }  # fmt: skip
    return [Child(name, argv, str(config / f"{name}.log"), "mirror") for name, argv in commands.items()]


def wait_answering(name: str, paths: Paths) -> None:
    """Wait until a mirror accepts connections."""
    end = time.monotonic() + ANSWER_DEADLINE
    while True:
        try:
            socket.create_connection((BRIDGE_ADDRESS, PORTS[name]), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                log = paths.run / "mirrors" / f"{name}.log"
                raise LabError(
                    f"the {name} mirror does not answer on {BRIDGE_ADDRESS}:{PORTS[name]}; log: {log}",
                    detail=shell.tail(log),
                ) from None
            time.sleep(0.1)  # the mirror starts in a process of its own; bounded above
