"""The hosts: their disks (an overlay over the shared base root), identities, SSH keys and nspawn command lines."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from lab import apt, shell
from lab.errors import LabError
from lab.topology import APT_PROXY, BRIDGE, BRIDGE_ADDRESS, HOSTS, PLAIN_DIRECTORIES, PREFIX_LENGTH, USER, Paths

BOOT_DEADLINE = 120.0
# A reboot asked for inside ends nspawn with this code when its unit is kept (nspawn.c: CONTAINER_REBOOTED).
REBOOTED = 133


def nspawn_argv(name: str, paths: Paths) -> list[str]:
    """The command that boots one host.

    Unified hierarchy: Docker and systemd inside want cgroup v2, whatever the machine mixes. The system calls and
    capabilities are those that Docker's runc asks for. --register=no and --keep-unit: neither machined nor a
    running systemd is needed on the machine.
    """
    home = paths.host(name)
    return [
        "env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
        "systemd-nspawn", "--boot", f"--directory={home / 'root'}", f"--machine={name}",
        "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        f"--network-bridge={BRIDGE}",
        # all but loading kernel modules, which systemd would try at boot and fail at: the kernel is the machine's
        "--capability=all", "--drop-capability=CAP_SYS_MODULE",
        "--system-call-filter=@keyring bpf add_key",
        *(f"--bind={plain_directory(home, inside)}:{inside}" for inside in PLAIN_DIRECTORIES),
    ]  # fmt: skip


def plain_directory(home: Path, inside: str) -> Path:
    """Where a directory that must not be on the overlay lies on the machine."""
    return home / "plain" / inside.strip("/").replace("/", "-")


def mount_argv(home: Path, base: Path) -> list[str]:
    """The overlay: the base root below, the host's own writes above."""
    layers = f"lowerdir={base},upperdir={home / 'upper'},workdir={home / 'work'}"
    return ["mount", "-t", "overlay", "-o", layers, "vllm-fleet-lab", str(home / "root")]


def files(name: str, sources: str) -> dict[str, str]:
    """What is written on a host beyond the base root: its identity, its address, its way to packages."""
    neighbours = "".join(f"{address} {host}\n" for host, address in HOSTS.items())
    return {
        "etc/hostname": f"{name}\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{neighbours}{BRIDGE_ADDRESS} mirror\n",
        # 10-: before systemd's own 80-container-host0.network, which would ask for DHCP.
        "etc/systemd/network/10-host0.network": (
            f"[Match]\nName=host0\n\n[Network]\nAddress={HOSTS[name]}/{PREFIX_LENGTH}\nIPv6AcceptRA=no\n"
            "LinkLocalAddressing=no\n"
        ),
        # No pipelining: apt 2.6 was seen waiting for ever when apt-cacher-ng closed a connection with requests in it.
        "etc/apt/apt.conf.d/90mirror": (
            'Acquire::http::Pipeline-Depth "0";\n'
            f'Acquire::http::Proxy "{APT_PROXY}";\nAcquire::http::Proxy::{BRIDGE_ADDRESS} "DIRECT";\n'
        ),
        "etc/apt/sources.list": apt.cached(sources),
    }


def ssh_config(paths: Paths) -> str:
    """For `ssh -F .lab/ssh/config gpu-1`."""
    common = (
        f"Host *\n  User {USER}\n  IdentityFile {paths.ssh / 'id_ed25519'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {paths.ssh / 'known_hosts'}\n  StrictHostKeyChecking yes\n  ConnectTimeout 5\n"
    )
    return "".join(f"Host {name}\n  HostName {address}\n" for name, address in HOSTS.items()) + common


def make_key(file: Path) -> str:
    """An ed25519 key pair (made once), and its public half."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vllm-fleet-lab", "-f", str(file)], check=True
        )
    return file.with_name(f"{file.name}.pub").read_text()


def make(base: Path, paths: Paths) -> None:
    """Lay out every host's disk afresh, and the SSH files that reach them."""
    public_key = make_key(paths.ssh / "id_ed25519")
    known = ""
    for name, address in HOSTS.items():
        host_key = make_disk(name, base, public_key, paths)
        known += f"{name},{address} {' '.join(host_key.split()[:2])}\n"
    (paths.ssh / "known_hosts").write_text(known)
    paths.ssh_config.write_text(ssh_config(paths))


def make_disk(name: str, base: Path, public_key: str, paths: Paths) -> str:
    """One host's disk, mounted and filled in; gives the host's public SSH key."""
    home = paths.host(name)
    for directory in ("upper", "work", "root"):
        (home / directory).mkdir(parents=True)
    for inside in PLAIN_DIRECTORIES:
        plain_directory(home, inside).mkdir(parents=True)
    shell.logged(
        mount_argv(home, base),
        paths.logs / f"mount-{name}.log",
        f"mounting the disk of {name}",
        mend="the checkout must lie on a plain disk (ext4, xfs), not on an overlay or a network share",
    )
    root = home / "root"
    for file, text in files(name, (root / "etc/apt/sources.list").read_text()).items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    _authorize(root, public_key)
    return make_key(root / "etc/ssh/ssh_host_ed25519_key")


def _authorize(root: Path, public_key: str) -> None:
    """Let the lab's key in as the user; sshd wants the file owned by that user."""
    home = root / "home" / USER
    directory = home / ".ssh"
    directory.mkdir(mode=0o700)
    (directory / "authorized_keys").write_text(public_key)
    owner = home.stat()
    for path in (directory, directory / "authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)


def unmount(paths: Paths) -> None:
    """Take every host's disk off, however often it was mounted."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([path for path in mounted if path.startswith(f"{paths.run}/")]):
        shell.logged(
            ["umount", mount],
            paths.logs / "umount.log",
            f"unmounting {mount}",
            mend="a shell or an editor may still stand in it",
        )


def ssh_argv(paths: Paths, name: str, command: Sequence[str] = ()) -> list[str]:
    """The command that reaches one host; one that runs a program is never asked anything."""
    options = ["-o", "BatchMode=yes"] if command else []
    return ["ssh", "-F", str(paths.ssh_config), *options, name, *command]


def answers(name: str) -> bool:
    """Whether the host's sshd says hello."""
    try:
        with socket.create_connection((HOSTS[name], 22), timeout=1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def boot_id(name: str, paths: Paths) -> str:
    """The kernel's boot id as the host sees it (nspawn gives each boot its own), or nothing if it is not up."""
    if not answers(name):
        return ""
    return shell.output(ssh_argv(paths, name, ["cat", "/proc/sys/kernel/random/boot_id"])).strip()


def wait_booted(name: str, paths: Paths, *, unlike: str = "") -> None:
    """Wait until systemd on the host has finished its boot (a boot other than `unlike`)."""
    end = time.monotonic() + BOOT_DEADLINE
    while boot_id(name, paths) in ("", unlike):
        if time.monotonic() > end:
            console = paths.host(name) / "console.log"
            raise LabError(
                f"{name} did not answer on {HOSTS[name]}:22 within {BOOT_DEADLINE:.0f} s; log: {console}",
                detail=shell.tail(console),
            )
        time.sleep(0.2)  # a host boots; bounded above
    shell.output(ssh_argv(paths, name, ["systemctl", "is-system-running", "--wait"]))
