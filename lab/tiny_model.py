"""A Llama of 7 MB with random weights, a tokenizer and a chat template: small enough to make, real enough to serve."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from lab import base, engine_image, mirrors, shell
from lab.topology import MODEL_NAME, Paths

PROGRAM = Path(__file__).with_name("make_tiny_model.py")


def directory(paths: Paths) -> Path:
    return paths.model / MODEL_NAME


def archive(paths: Paths) -> Path:
    return paths.model / f"{MODEL_NAME}.tar"


def make(paths: Paths) -> None:
    """Make model and archive with the engine's own Python and transformers, unless they are there."""
    done = paths.model / "key"
    key = f"{engine_image.key()}-{hashlib.sha256(PROGRAM.read_bytes()).hexdigest()[:12]}"
    if done.exists() and done.read_text() == key:
        return
    half = paths.model / "half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    binds = {
        engine_image.libraries(paths): engine_image.LIBRARIES,
        half: "/mnt",
        PROGRAM.parent: "/media",
    }
    program = ["env", f"PYTHONPATH={engine_image.LIBRARIES}", "python3", f"/media/{PROGRAM.name}", "/mnt"]
    argv = mirrors.build_inside(base.build(engine_image.root(), paths), binds, program)
    shell.logged(argv, paths.logs / "tiny-model.log", "making the tiny model")
    shutil.rmtree(directory(paths), ignore_errors=True)
    half.rename(directory(paths))
    _pack(paths)
    done.write_text(key)


def _pack(paths: Paths) -> None:
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    with tarfile.open(archive(paths), "w") as tar:
        for file in sorted(directory(paths).iterdir()):
            tar.add(file, file.name, filter=plain)


def archive_sha256(paths: Paths) -> str:
    return hashlib.sha256(archive(paths).read_bytes()).hexdigest()


def revision(paths: Paths) -> str:
    """A commit's name for the model: 40 hex digits that change with any byte of it."""
    return archive_sha256(paths)[:40]
