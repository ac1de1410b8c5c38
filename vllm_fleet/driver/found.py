"""What stands on a host: distribution, module, packages, engines. One read-only command tells all of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_fleet import paths, tree
from vllm_fleet.render.nvidia import DRIVER_PACKAGES, SUBNET_MANAGER
from vllm_fleet.tree import Tree

CDI = "/etc/cdi/nvidia.yaml"

# `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build ...`; without a module no file
LOADED = r"sed -n 's/^NVRM version: .*Kernel Module.* \([0-9]\{3,\}\.[0-9.]*\) .*/\1/p' /proc/driver/nvidia/version"
_FORM = r"package\t${db:Status-Status}\t${db:Status-Want}\t${Package}\t${Version}\n"
_SYSTEM = r"""\
( . /etc/os-release; printf 'distribution\t%s\n' "$(printf %s "$ID$VERSION_ID" | tr -d .)" )
printf 'architecture\t%s\n' "$(dpkg --print-architecture)"
"""


@dataclass(frozen=True)
class Package:
    """An installed one."""

    version: str
    held: bool

    @property
    def upstream(self) -> str:
        """The driver's own version in it: 580.95.05 of `1:580.95.05-0ubuntu1`."""
        return self.version.rpartition(":")[2].partition("-")[0]


@dataclass(frozen=True)
class Found:
    """What a host said."""

    distribution: str = ""
    """ID and VERSION_ID of os-release without dots: `debian13`, `ubuntu2404`."""
    architecture: str = ""
    """dpkg's name: `amd64`."""
    module: str | None = None
    """The version of the loaded module."""
    packages: dict[str, Package] = field(default_factory=dict)
    engines: tuple[str, ...] = ()
    """Instances that an earlier deploy put there."""
    drained: tuple[str, ...] = ()
    """`GATEWAY SERVICE/SERVER` as `drained_note` has them: drained by an earlier deploy and not admitted again."""
    cdi: str | None = None
    """The versions that the CDI specification was made for, as `cdi_note` has them."""
    tree: tree.Found = field(default_factory=tree.Found)


def drained_note() -> str:
    """The file that names what was drained, one server a line."""
    return f"{paths.STATE}/drained"


def cdi_note() -> str:
    """The file that names the versions of driver and toolkit which the CDI specification was made with."""
    return f"{paths.STATE}/cdi-made-for"


def look(files: Tree) -> str:
    """The shell command that `found` reads the output of; `files` are those that the packages come by."""
    patterns = shlex.join([*DRIVER_PACKAGES, "linux-headers-*", SUBNET_MANAGER])
    return _SYSTEM + "\n".join(
        [
            rf"{LOADED} | sed 's/^/module\t/'",
            f"dpkg-query --show --showformat '{_FORM}' {patterns}",
            rf"ls -1 {shlex.quote(paths.ENGINES)} | sed 's/^/engine\t/'",
            rf"sed 's/^/drained\t/' {shlex.quote(drained_note())}",
            rf"[ ! -s {CDI} ] || sed 's/^/cdi\t/' {shlex.quote(cdi_note())}",
            tree.look([files]),
        ]
    )


def found(lines: Sequence[str]) -> Found:
    """Read the output of `look`."""
    said: dict[str, list[str]] = {}
    packages: dict[str, Package] = {}
    for line in lines:
        key, _, rest = line.partition("\t")
        match [key, *rest.split("\t")]:
            case ["package", "installed", want, name, version]:
                packages[name] = Package(version, want == "hold")
            case ["distribution" | "architecture" | "module" | "engine" | "drained" | "cdi", _]:
                said.setdefault(key, []).append(rest)
    return Found(
        distribution=said.get("distribution", [""])[0],
        architecture=said.get("architecture", [""])[0],
        module=said.get("module", [None])[0],
        packages=packages,
        engines=tuple(said.get("engine", [])),
        drained=tuple(said.get("drained", [])),
        cdi=said.get("cdi", [None])[0],
        tree=tree.found([*lines]),
    )
