"""A Python program in one file, as bytes that depend on its modules alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

# the earliest that a zip file can hold
_TIME = (1980, 1, 1, 0, 0, 0)


def installed(module: str) -> Path:
    """The file of a module as it is installed here; of a package its `__init__.py`."""
    found = find_spec(module)
    assert found
    assert found.origin
    return Path(found.origin)


def modules_of(package: Path) -> dict[str, bytes]:
    """The modules of a package, without packages in it, by their path in a zip file."""
    return {f"{package.name}/{module.name}": module.read_bytes() for module in package.glob("*.py")}


def zipapp(modules: Mapping[str, bytes]) -> bytes:
    """A zip file that `python3 FILE` runs; `modules` by their path in it, one of them `__main__.py`.

    Not compressed: other builds of zlib would give other bytes, and hosts a new program.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(modules):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # 3: Unix, wherever it is made
            archive.writestr(entry, modules[path])
    return buffer.getvalue()
