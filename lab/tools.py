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

PROGRAMS = ("haproxy", "nft", "promtool", "amtool", "prometheus-alertmanager")
_PACKAGES = ("haproxy", "nftables", "prometheus-alertmanager")
# a package of its own since trixie
_PROMTOOL = {"bookworm": "prometheus", "trixie": "promtool"}
# /lib and the like as links into /usr, as on an installed Debian
_MERGED_USR = """
for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done
"""


def root(release: str) -> Root:
    """What holds a release's programs and the libraries that they need; nothing in it is set up."""
    packages = (*_PACKAGES, _PROMTOOL[release])
    return Root(f"tools-{release}", release, packages, setup_hook=_MERGED_USR, variant="extract")


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
    """Starts a program that sees its own release's /usr in the place of this machine's: a newer one's may want a newer
    C library, Alertmanager has the path of its templates compiled in, and HAProxy executes itself anew, which a path to
    the libraries does not outlive."""
    found = [path.relative_to(unpacked) for path in unpacked.glob(f"usr/*bin/{name}")]
    if len(found) != 1:
        raise LabError(f"{unpacked} has {len(found)} programs {name}; remove it and run make tools again")
    inside = f'mount --bind {unpacked}/usr /usr && exec /{found[0]} "$@"'
    return f"#!/bin/sh\nexec unshare --mount sh -c '{inside}' {name} \"$@\"\n"
