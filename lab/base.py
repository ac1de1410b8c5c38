"""Debian roots made by mmdebstrap, kept in the cache under a key of everything that went into them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import apt, shell
from lab.topology import Paths

# Bookworm's packages, for what trixie has not (python3.11), at a priority that never replaces anything (apt_preferences
# (5): below 500, above 0). The addresses are those that the root itself uses, with the release's name exchanged.
OLDER_SOURCES = """
sed 's/trixie/bookworm/g' "$1"/etc/apt/sources.list > "$1"/etc/apt/sources.list.d/older.list
printf 'Package: *\\nPin: release n=bookworm*\\nPin-Priority: 100\\n' > "$1"/etc/apt/preferences.d/older
"""
# Bookworm's python3.11-venv wants python3-distutils, which wants bookworm's python3; its only content of use is the
# `ensurepip` module, so that is unpacked beside the installed python3.11 and apt stays content.
UNPACK_VENV = """
here=$(mktemp -d)
(cd "$here" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download python3.11-venv)
dpkg-deb --extract "$here"/python3.11-venv_*.deb "$1"
rm -r "$here"
"""
FORGET_OLDER_SOURCES = 'rm "$1"/etc/apt/sources.list.d/older.list "$1"/etc/apt/preferences.d/older'

# A host as a person gets it from a provider: SSH with keys only, one user with sudo, addresses by systemd-networkd,
# a journal that is kept. What differs from host to host is written by lab.hosts.
HOST_SETUP = """
chroot "$1" useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD: ALL' > "$1"/etc/sudoers.d/deploy
chmod 0440 "$1"/etc/sudoers.d/deploy
printf 'PasswordAuthentication no\\nPermitRootLogin no\\nUseDNS no\\n' > "$1"/etc/ssh/sshd_config.d/lab.conf
rm -f "$1"/etc/ssh/ssh_host_*
: > "$1"/etc/resolv.conf
mkdir -p "$1"/var/log/journal "$1"/var/lib/docker "$1"/var/lib/containerd
chroot "$1" systemctl enable systemd-networkd
"""

_BARE = (
    "systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "python3", "sudo", "iproute2",
    "ca-certificates",
)  # fmt: skip
HOST_PACKAGES = (*_BARE, "python3.11", "python3-pip-whl", "python3-setuptools-whl")
# What the roles of a host without engines install, and Ansible's way to apt. What would run at once is left off, as on
# a host that does not have it.
NODE_PACKAGES = (
    *_BARE, "python3-apt", "chrony", "nftables", "haproxy",
    "prometheus", "prometheus-alertmanager", "prometheus-node-exporter",
)  # fmt: skip
NODE_SETUP = """
chroot "$1" systemctl disable chrony haproxy prometheus prometheus-alertmanager prometheus-node-exporter
"""
MIRROR_PACKAGES = ("apt-cacher-ng", "docker-registry", "skopeo", "ca-certificates")


@dataclass(frozen=True)
class Root:
    """What one root is made of."""

    name: str
    release: str
    packages: tuple[str, ...]
    setup_hook: str = ""
    customize_hook: str = ""
    variant: str = "minbase"
    """mmdebstrap's; `extract` unpacks the packages and what they depend on, and sets nothing up."""

    @property
    def key(self) -> str:
        made_of = json.dumps([self.release, self.packages, self.setup_hook, self.customize_hook, self.variant])
        return hashlib.sha256(made_of.encode()).hexdigest()[:12]

    def directory(self, paths: Paths) -> Path:
        return paths.cache / "roots" / f"{self.name}-{self.key}"


def host_root(release: str) -> Root:
    """The root that all hosts share as the lower layer of their overlays."""
    if release == "bookworm":
        return Root(f"host-{release}", release, (*HOST_PACKAGES, "python3.11-venv"), customize_hook=HOST_SETUP)
    customize = HOST_SETUP + UNPACK_VENV + FORGET_OLDER_SOURCES
    return Root(f"host-{release}", release, HOST_PACKAGES, OLDER_SOURCES, customize)


def node_root(release: str) -> Root:
    """The same with the roles' packages."""
    return Root(f"node-{release}", release, NODE_PACKAGES, customize_hook=HOST_SETUP + NODE_SETUP)


def mirror_root() -> Root:
    """The root that the mirrors' daemons run from, so that none is installed on the machine."""
    return Root("mirror", "trixie", MIRROR_PACKAGES)


def mmdebstrap_argv(root: Root, target: Path, sources: list[str], proxy: str) -> list[str]:
    """The whole command; without sources mmdebstrap takes its own default for the release."""
    argv = ["mmdebstrap", f"--variant={root.variant}", f"--include={','.join(root.packages)}"]
    argv += ["--aptopt=APT::Install-Recommends false"]
    if proxy:
        argv += [f'--aptopt=Acquire::http::Proxy "{proxy}"']
    if root.setup_hook:
        argv += [f"--setup-hook={root.setup_hook}"]
    if root.customize_hook:
        argv += [f"--customize-hook={root.customize_hook}"]
    argv += ['--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap']
    return [*argv, root.release, str(target), *sources]


def build(root: Root, paths: Paths) -> Path:
    """The root's directory, made if it is not there; a half-made one never has the final name."""
    target = root.directory(paths)
    if target.exists():
        return target
    for old in target.parent.glob(f"{root.name}-*"):
        shutil.rmtree(old)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f"{target.name}.half")
    argv = mmdebstrap_argv(root, half, apt.machine_sources(root.release), apt.machine_proxy())
    shell.logged(
        argv,
        paths.logs / f"root-{root.name}.log",
        f"making the Debian root '{root.name}'",
        mend="check that the machine's apt reaches its sources (apt-get update)",
    )
    half.rename(target)
    return target
