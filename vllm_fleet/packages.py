"""The shell that installs Debian packages. Nothing here talks to a host."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from vllm_fleet import paths

# Package lists are read anew once a day, and when a source was added since. No question may be asked on a terminal
# nobody watches, and a mirror that hangs must not hang the deploy.
_UPDATE = """\
set -e; stamp={stamp}
if [ -z "$(find $stamp -mmin -1440 2>/dev/null)" ] || [ -n "$(find /etc/apt -newer $stamp -print -quit)" ]; then
  apt-get update --quiet {options}; mkdir -p "${{stamp%/*}}"; touch $stamp
fi
"""
_INSTALL = """\
DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends {options} \
  -o Dpkg::Options::=--force-confold {packages}
"""
STAMP = f"{paths.STATE}/apt-updated"
_OPTIONS = "-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=60"


def update() -> str:
    """A script that reads the package lists where they are old; it stops at the first failure, as does what follows."""
    return _UPDATE.format(stamp=STAMP, options=_OPTIONS)


def install(packages: Sequence[str], *options: str) -> str:
    """A command for `packages` (`NAME` or `NAME=VERSION`), with more of apt-get's own options."""
    return _INSTALL.format(options=" ".join([_OPTIONS, *options]), packages=shlex.join(packages))
