"""The programs that check rendered files, Debian's own of each release that hosts may run.

They are unpacked, not installed: that would start a proxy and a monitoring server on this machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import base, machine
from lab.base import Root
from lab.errors import LabError
from lab.progress import Reporter
from lab.topology import RELEASES, Paths

ALERTMANAGER = "prometheus-alertmanager"
PROGRAMS = ("haproxy", "nft", "promtool", "amtool", ALERTMANAGER)
_PACKAGES = ("haproxy", "nftables", ALERTMANAGER)
# a package of its own since trixie
_PROMTOOL = {"bookworm": "prometheus", "trixie": "promtool"}


def root(release: str) -> Root:
    """What holds a release's programs and the libraries that they need; nothing in it is set up."""
    return Root(f"tools-{release}", release, (*_PACKAGES, _PROMTOOL[release]), variant="extract")


def provide(paths: Paths, reporter: Reporter) -> None:
    """Each release's programs in a directory of their own (`Paths.tools`). Raises LabError."""
    if packages := machine.missing():
        with reporter.step(f"installing {', '.join(packages)}"):
            machine.install(packages, paths)
    machine.refresh_index(paths)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda release: _provide(release, paths, reporter), RELEASES))


def _provide(release: str, paths: Paths, reporter: Reporter) -> None:
    with reporter.step(f"programs of Debian {release} for the tests"):
        unpacked = base.build(root(release), paths)
    directory = paths.tools(release)
    directory.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        start = directory / name
        start.write_text(start_script(unpacked, name))
        start.chmod(0o755)


def start_script(unpacked: Path, name: str) -> str:
    """Starts a program with its own release's libraries: a newer one's may want more than this machine's C library."""
    program = _only(unpacked, f"usr/*bin/{name}")
    # a link to it has an absolute target
    loader = _only(unpacked, "lib/*/ld-linux-*.so.*", "usr/lib/*/ld-linux-*.so.*")
    libraries = ":".join(str(path) for parent in ("lib", "usr/lib") for path in unpacked.glob(f"{parent}/*-linux-gnu"))
    argv = f"{loader} --library-path {libraries} {program}"
    if name == ALERTMANAGER:  # the path of its templates is compiled in
        argv = f"unshare --mount sh -c 'mount --bind {unpacked}/usr/share /usr/share && exec \"$@\"' {name} {argv}"
    return f'#!/bin/sh\nexec {argv} "$@"\n'


def _only(unpacked: Path, *patterns: str) -> Path:
    found = [path for pattern in patterns for path in unpacked.glob(pattern) if path.is_file()]
    if len(found) != 1:
        raise LabError(f"{unpacked} has {len(found)} files {patterns[0]}; remove it and run make tools again")
    return found[0]
