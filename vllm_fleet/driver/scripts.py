"""The shell that gives a host its driver. Each script may run again where an earlier run was cut off."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from vllm_fleet import paths
from vllm_fleet.driver.found import CDI, cdi_note, drained_note
from vllm_fleet.packages import install, update
from vllm_fleet.render.nvidia import DRIVER_PACKAGES

# what is held moves only here, dependencies with it, and in both directions
_CHANGE = ("--ignore-hold", "--allow-change-held-packages", "--allow-downgrades")

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
"""Another one after each boot."""
REBOOT = "( sleep 1; systemctl reboot ) </dev/null >/dev/null 2>&1 &"
"""Apart from the session, which ends with the host."""

LOAD = "modprobe nvidia 2>/dev/null || true"
"""Load the module if none is; where that fails, a look tells."""


def fetch(host: str, packages: Sequence[str], main: str, pattern: str) -> str:
    """Download what will be installed while engines still serve; one line where no source has the wanted version.

    + main: the package whose version is the driver's; `pattern` is how that must look
    """
    missing = (
        f"versions.nvidia_driver: no package source of {host} has {main} {pattern}, the candidate is "
        "${candidate:-none}; add it to the mirror, or declare a driver that is there"
    )
    return f"""\
{update()}
candidate=$(apt-cache policy {main} | sed -n 's/^ *Candidate: //p')
case "${{candidate#*:}}" in {pattern}) ;; *) echo "{missing}" >&2; exit 1 ;; esac
{install(packages, *_CHANGE, "--download-only")}"""


def put_in(packages: Sequence[str]) -> str:
    """Install, with the headers of the running kernel where a source has them, for which the module is built."""
    return f"""\
{update()}
headers=linux-headers-$(uname -r)
if apt-cache show "$headers" >/dev/null 2>&1; then set -- "$headers"; else set --; fi
{install(packages, *_CHANGE).rstrip()} "$@"
"""


def hold(pattern: str) -> str:
    """Hold all packages of the driver, its dependencies too."""
    form = r"${Package} ${Version} ${db:Status-Status}\n"
    listed = f"dpkg-query --show --showformat '{form}' {shlex.join(DRIVER_PACKAGES)}"
    return f"""\
set -e
{listed} | while read -r name version status; do
  case "$status ${{version#*:}}" in "installed "{pattern}) apt-mark hold "$name" >/dev/null ;; esac
done
"""


def generate_cdi(versions: str) -> str:
    """Make the CDI specification, and note the versions that it was made with. The driver's device files come first,
    for it names those that are there."""
    return f"""\
set -e; mkdir -p {CDI.rpartition("/")[0]} {shlex.quote(paths.STATE)}
if command -v nvidia-modprobe >/dev/null; then nvidia-modprobe -c 0 -u; fi
nvidia-ctk cdi generate --output={CDI} >/dev/null
echo {shlex.quote(versions)} > {shlex.quote(cdi_note())}
"""


def note(servers: Sequence[str]) -> str:
    """Note what is drained; nothing is when nothing is named."""
    path = shlex.quote(drained_note())
    if not servers:
        return f"rm -f {path}"
    return f"mkdir -p {shlex.quote(paths.STATE)}; printf '%s\\n' {shlex.join(servers)} > {path}"
