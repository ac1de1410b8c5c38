"""A folder of packages as a flat apt repository (`deb URL ./`): its index."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab import shell


def stanza(control: str, name: str, size: int, sha256: str) -> str:
    """One package's entry in a Packages file."""
    return f"{control.rstrip()}\nFilename: ./{name}\nSize: {size}\nSHA256: {sha256}\n"


def source(url: str) -> str:
    """The line of sources.list; trusted, for the folder is not signed and is reachable from the bridge only."""
    return f"deb [trusted=yes] {url} ./"


def write_index(folder: Path) -> None:
    """`Packages`, over all packages of the folder."""
    entries = []
    for deb in sorted(folder.glob("*.deb")):
        control = shell.output(["dpkg-deb", "--field", str(deb)])
        content = deb.read_bytes()
        entries.append(stanza(control, deb.name, len(content), hashlib.sha256(content).hexdigest()))
    (folder / "Packages").write_text("\n".join(entries))
