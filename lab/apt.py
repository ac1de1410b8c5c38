"""The machine's own apt configuration, read at run time: which sites Debian comes from, and through what proxy.

No address of a package site is written in this project. A machine with no Debian source of its own (Ubuntu, say)
leaves the choice to mmdebstrap's default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab import shell

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FORMAT = "$(LABEL)|$(SITE)|$(RELEASE)|$(COMPONENT)"


@dataclass(frozen=True)
class Target:
    """One index that apt knows: where it comes from, which release, which component."""

    site: str
    release: str
    component: str


def parse_targets(text: str) -> list[Target]:
    """Debian's own targets from `apt-get indextargets`, once each."""
    rows = [line.split("|") for line in text.splitlines()]
    found = [Target(*row[1:]) for row in rows if len(row) == 4 and row[0] in ("Debian", "Debian-Security")]
    return list(dict.fromkeys(found))


def sources(targets: list[Target], codename: str) -> list[str]:
    """`deb` lines for `codename` on the same sites: only the release's name is exchanged."""
    lines = []
    for target in targets:
        suffix = re.search(r"-(updates|security)$", target.release)
        release = codename + (suffix.group(0) if suffix else "")
        if target.component == "main":
            lines.append(f"deb [signed-by={KEYRING}] {target.site} {release} main")
    return list(dict.fromkeys(lines))


def machine_sources(codename: str) -> list[str]:
    """`deb` lines for a release from the machine's own sites; empty when it has none."""
    listing = ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]
    return sources(parse_targets(shell.output(listing)), codename)


def machine_proxy() -> str:
    """The HTTP proxy that the machine's apt is told to use, or nothing."""
    match = re.search(r'Acquire::http::Proxy "(.+)";', shell.output(["apt-config", "dump", "Acquire::http::Proxy"]))
    return match.group(1) if match else ""


def cached(source: str) -> str:
    """A `deb` line as a host behind the apt cache must write it.

    apt-cacher-ng cannot cache what is tunnelled by CONNECT; it fetches https itself when asked for
    http://HTTPS///site (its manual, "Access to SSL/TLS remotes").
    """
    return source.replace("https://", "http://HTTPS///")
