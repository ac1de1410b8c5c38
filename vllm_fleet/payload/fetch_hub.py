"""Fetch one commit of a Hugging Face repository and check every byte of it. Runs in the engine's own Python.

Usage: fetch_hub.py REPOSITORY REVISION DIRECTORY, with HF_ENDPOINT and HF_TOKEN_PATH in the environment where needed.

The hub names a sha256 for each large file and a git blob id for each small one
(https://huggingface.co/docs/hub/api, `?blobs=true`); a file that does not match is an error. Writes SHA256SUMS last,
so a directory with that file is complete. Exit 0 when it is, 1 with one line on stderr when not.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

CHUNK = 1 << 20


def digest(path: Path, algorithm: str, prefix: bytes = b"") -> str:
    """The hex digest of a file, read in pieces; `prefix` goes before its content."""
    value = hashlib.new(algorithm, prefix)
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            value.update(piece)
    return value.hexdigest()


def git_blob_id(path: Path) -> str:
    """The name git gives to a file's content."""
    return digest(path, "sha1", f"blob {path.stat().st_size}\0".encode())


def mismatch(path: Path, sha256: str | None, blob_id: str | None) -> str | None:
    """What is wrong with a file against what the hub says of it, or None."""
    if not path.is_file():
        return "is missing"
    if sha256:
        return None if digest(path, "sha256") == sha256 else "has another sha256 than the hub names"
    if blob_id:
        return None if git_blob_id(path) == blob_id else "has another git blob id than the hub names"
    return "has no checksum on the hub"


def write_sums(directory: Path) -> None:
    """SHA256SUMS over all files, in the form `sha256sum --check` reads, written in one step."""
    sums, part = directory / "SHA256SUMS", directory / "SHA256SUMS.part"
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path not in (sums, part))
    lines = [f"{digest(path, 'sha256')}  {path.relative_to(directory)}\n" for path in files]
    part.write_text("".join(lines), encoding="utf-8")
    part.rename(sums)


def fetch(repository: str, revision: str, directory: Path) -> None:
    """Download, check, and write SHA256SUMS. Raises ValueError naming the file that does not match."""
    from huggingface_hub import HfApi, snapshot_download  # only the engine's Python has it

    siblings = HfApi().model_info(repository, revision=revision, files_metadata=True).siblings or []
    snapshot_download(repository, revision=revision, local_dir=directory)
    for sibling in siblings:
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        if wrong := mismatch(directory / sibling.rfilename, sha256, sibling.blob_id):
            raise ValueError(f"{sibling.rfilename} {wrong}; fetch again, or pin another revision")
    write_sums(directory)


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: fetch_hub.py REPOSITORY REVISION DIRECTORY", file=sys.stderr)
        return 2
    repository, revision, directory = arguments
    try:
        fetch(repository, revision, Path(directory))
    except Exception as error:  # the hub's client raises many kinds; an operator wants one line
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"{repository} at {revision[:12]}: {lines[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
