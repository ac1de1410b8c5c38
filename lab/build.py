"""Bringing the lab up: what depends on what, and what runs at the same time."""

from __future__ import annotations

import os
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import (
    base,
    certificates,
    cleanup,
    docker_debs,
    engine_image,
    grafana_debs,
    hosts,
    machine,
    mirrors,
    network,
    nvidia_debs,
    state,
    supervisor,
    tiny_model,
    wheels,
)  # fmt: skip
from lab.errors import LabError
from lab.progress import Reporter
from lab.supervisor import Child
from lab.topology import HOSTS, NODES, Paths


def is_up(release: str, paths: Paths) -> bool:
    """Whether a complete lab of this release runs, with every host on."""
    facts = state.read(paths)
    if facts is None or facts["release"] != release:
        return False
    children = supervisor.status(paths)
    return bool(children) and all(row["pid"] for row in children.values())


def bring_up(release: str, paths: Paths, reporter: Reporter) -> None:
    """From whatever there is to a complete lab; `state.json` is written last."""
    if start_those_off(release, paths, reporter):
        return
    if cleanup.leftovers(paths):
        with reporter.step("clearing what an earlier lab left"):
            cleanup.down(paths)
    paths.logs.mkdir(parents=True, exist_ok=True)
    if packages := machine.missing():
        with reporter.step(f"installing {', '.join(packages)}"):
            machine.install(packages, paths)
    machine.check_pip()
    machine.refresh_index(paths)
    network.check()
    if NODES:
        boot(_root(base.node_root(release), paths, reporter), None, paths, reporter)
        state.write(release, paths)
        return
    with ThreadPoolExecutor() as pool:
        host_root = pool.submit(_root, base.host_root(release), paths, reporter)
        mirror_root = pool.submit(_root, base.mirror_root(), paths, reporter)
        engine = pool.submit(prepare_engine, paths, reporter)
        if docker_debs.for_release(release):
            docker_debs.build(mirror_root.result(), paths)
        nvidia_debs.build(paths)
        grafana_debs.build(paths)
        boot(host_root.result(), mirror_root.result(), paths, reporter)
        engine.result()
    with reporter.step("pushing the engine's image to the registry"):
        mirrors.wait_answering("registry", paths)
        engine_image.push(base.mirror_root().directory(paths), paths)
    for mirror in mirrors.PORTS:
        mirrors.wait_answering(mirror, paths)
    _make_secrets(paths)
    state.write(release, paths)


def prepare_engine(paths: Paths, reporter: Reporter) -> None:
    """vLLM's CPU build as wheels and as an image, and a tiny model; each made once."""
    with reporter.step("downloading vLLM's CPU wheels (600 MB)", lambda: wheels.fetched(paths)):
        wheels.fetch(paths)
    steps = {
        "installing them for the engine's image": engine_image.libraries,
        "making the tiny model": tiny_model.make,
        "packing the engine's image (2.4 GB)": engine_image.build,
    }
    for title, make in steps.items():
        with reporter.step(title):
            make(paths)


def _make_secrets(paths: Paths) -> None:
    """API keys and a certificate of this lab alone, made once: the inventory names their files."""
    paths.secrets.mkdir(mode=0o700, exist_ok=True)
    for name in ("client-key", "engine-key", "grafana-password"):
        if not (paths.secrets / name).exists():
            _write_secret(paths.secrets / name, f"lab-{secrets.token_hex(16)}\n")
    if not (paths.secrets / "certificate.pem").exists():
        ca, certificate = certificates.make([*HOSTS.values()])
        (paths.secrets / "ca.pem").write_text(ca)
        _write_secret(paths.secrets / "certificate.pem", certificate)


def _write_secret(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)


def _root(root: base.Root, paths: Paths, reporter: Reporter) -> Path:
    if root.directory(paths).exists():
        return root.directory(paths)
    with reporter.step(f"Debian {root.release} root for {root.name}"):
        return base.build(root, paths)


def boot(host_root: Path, mirror_root: Path | None, paths: Paths, reporter: Reporter) -> None:
    """Start hosts, and mirrors where there is a root for them, and wait until all hosts have booted."""
    with reporter.step(f"booting {', '.join(HOSTS)}"):
        paths.run.mkdir(parents=True)
        network.up(paths.logs / "network.log")
        hosts.make(host_root, paths)
        others = mirrors.children(mirror_root, paths) if mirror_root else []
        supervisor.launch([*others, *host_children(paths)], paths)
        for name in HOSTS:
            hosts.wait_booted(name, paths)


def host_children(paths: Paths) -> list[Child]:
    """The hosts as the supervisor's children."""
    return [
        Child(name, hosts.nspawn_argv(name, paths), str(paths.host(name) / "console.log"), "host") for name in HOSTS
    ]


def start_those_off(release: str, paths: Paths, reporter: Reporter) -> bool:
    """In a complete lab whose hosts were powered off, only start those; false if there is no such lab."""
    facts = state.read(paths)
    pid = supervisor.pid(paths)
    if facts is None or pid is None or facts["release"] != release:
        return False
    off = [name for name, row in supervisor.status(paths).items() if not row["pid"]]
    with reporter.step(f"starting {', '.join(off)}"):
        os.kill(pid, signal.SIGHUP)
        end = time.monotonic() + hosts.BOOT_DEADLINE
        while not is_up(release, paths):
            if time.monotonic() > end:
                raise LabError(f"the supervisor did not start {', '.join(off)}; log: {paths.run / 'supervisor.log'}")
            time.sleep(0.1)  # the supervisor starts in a process of its own; bounded above
        for name in set(off) & set(HOSTS):
            hosts.wait_booted(name, paths)
    return True
