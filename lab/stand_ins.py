"""Packages of the lab's own with the names of others', offered as flat apt repositories.

What a package holds lies in a folder of `lab/`, as files in which `@VERSION@` is the package's upstream version.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import flat_repository, shell

UNITS = "usr/lib/systemd/system"
# As debhelper's: systemd knows new units at once, and none is started or restarted by it.
POSTINST = "#!/bin/sh\nset -e\n[ ! -d /run/systemd/system ] || systemctl daemon-reload\n"


@dataclass(frozen=True)
class Package:
    """One package: what it needs, and what it puts on a host (path: file of the folder)."""

    name: str
    versions: tuple[str, ...]
    depends: tuple[str, ...] = ()
    """Others of its own version."""
    needs: tuple[str, ...] = ()
    """Others, of any version."""
    programs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    postinst: str = ""
    """A file of the folder: what is done on the host after the files are there, in sh."""


Add = Callable[[Package, str, Path], None]
"""Puts more into a package's tree, for its upstream version."""


def control(package: Package, version: str) -> str:
    """The package's control file."""
    needs = [*package.needs, *(["python3"] if package.programs else [])]
    depends = [*(f"{name} (= {version})" for name in package.depends), *needs]
    lines = [
        f"Package: {package.name}",
        f"Version: {version}",
        "Architecture: amd64",
        "Maintainer: vllm-fleet lab <lab@invalid>",
        *([f"Depends: {', '.join(depends)}"] if depends else []),
        f"Description: the lab's stand-in for {package.name}; nothing of the original is in it",
    ]
    return "\n".join(lines) + "\n"


def key(sources: Path, module: str) -> str:
    """Changes when any package would: with the folder, the module that lists them, or this one."""
    content = [Path(module), Path(__file__), Path(flat_repository.__file__), *sorted(sources.iterdir())]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in content if file.is_file())).hexdigest()[:12]


def build(target: Path, packages: Iterable[Package], sources: Path, made_of: str, log: Path, add: Add | None) -> None:
    """The repository `target`, unless it is there and made of the same (`key`)."""
    done = target / "key"
    if done.exists() and done.read_text() == made_of:
        return
    half = target.with_name(f"{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for package in packages:
        for version in package.versions:
            _build_package(package, version, half, sources, log, add)
    flat_repository.write_index(half)
    (half / "key").write_text(made_of)
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)


def _build_package(package: Package, version: str, folder: Path, sources: Path, log: Path, add: Add | None) -> None:
    """One .deb, by way of a tree of its files."""
    upstream = version.split("-")[0]
    tree = folder / "tree"
    _write(tree / "DEBIAN/control", control(package, version))
    own = (sources / package.postinst).read_text() if package.postinst else ""
    if own or any(path.startswith(UNITS) for path in package.files):
        _write(tree / "DEBIAN/postinst", POSTINST + own, 0o755)
    for mode, contents in ((0o755, package.programs), (0o644, package.files)):
        for path, source in contents.items():
            _write(tree / path, (sources / source).read_text().replace("@VERSION@", upstream), mode)
    for path, target in package.links.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target.replace("@VERSION@", upstream))
    if add:
        add(package, upstream, tree)
    for directory in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        directory.chmod(0o755)  # whatever the umask
    argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(folder / f"{package.name}_{version}_amd64.deb")]
    shell.logged(argv, log, f"packing the lab's {package.name}")
    shutil.rmtree(tree)


def _write(file: Path, text: str, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
