"""A read-only model hub on the bridge: as much of the Hugging Face Hub's HTTP API as fetching one commit takes.

Source: huggingface_hub 2.4 (`HfApi.model_info`, `snapshot_download`, `hf_hub_download`), and its API documentation.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lab import tiny_model
from lab.topology import BRIDGE_ADDRESS, HUB_PORT, MODEL_REPO, PATHS

# Files from this size on are what the hub keeps in LFS, with a sha256; smaller ones have a git blob id.
LFS_BYTES = 1 << 20


@dataclass(frozen=True)
class Repository:
    """One model at one commit."""

    name: str
    revision: str
    directory: Path

    def files(self) -> list[Path]:
        return sorted(file for file in self.directory.iterdir() if file.is_file())


def blob_id(content: bytes) -> str:
    """git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe(file: Path) -> dict[str, Any]:
    """A file as the hub lists it."""
    content = file.read_bytes()
    row: dict[str, Any] = {"rfilename": file.name, "size": len(content), "blobId": blob_id(content)}
    if len(content) >= LFS_BYTES:
        row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return row


def info(repository: Repository) -> dict[str, Any]:
    """The answer to /api/models/NAME/revision/COMMIT?blobs=true."""
    return {
        "_id": "0", "id": repository.name, "modelId": repository.name, "sha": repository.revision, "private": False,
        "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
        "siblings": [describe(file) for file in repository.files()],
    }  # fmt: skip


def tree(repository: Repository) -> list[dict[str, Any]]:
    """The answer to /api/models/NAME/tree/COMMIT."""
    rows = []
    for described in map(describe, repository.files()):
        row = {"type": "file", "path": described["rfilename"], "oid": described["blobId"], "size": described["size"]}
        if "lfs" in described:
            # the same thing under another name than in `info`
            row["lfs"] = described["lfs"] | {"oid": described["lfs"]["sha256"]}
        rows.append(row)
    return rows


def route(path: str, repository: Repository) -> dict[str, Any] | list[dict[str, Any]] | Path | None:
    """JSON to answer with, a file to send, or nothing for what is not here."""
    path = unquote(urlsplit(path).path)
    commit = f"({repository.revision}|main)"
    if re.fullmatch(f"/api/models/{repository.name}(/revision/{commit})?", path):
        return info(repository)
    if re.fullmatch(f"/api/models/{repository.name}/tree/{commit}/?", path):
        return tree(repository)
    if match := re.fullmatch(f"/{repository.name}/resolve/{commit}/([^/]+)", path):
        file = repository.directory / match.group(2)
        return file if file in repository.files() else None
    return None


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not tiny_model.archive(PATHS).exists():
            self._send(503, b'{"error": "the model is being made"}', {})
            return
        repository = Repository(MODEL_REPO, tiny_model.revision(PATHS), tiny_model.directory(PATHS))
        found = route(self.path, repository)
        if isinstance(found, Path):
            content = found.read_bytes()
            row = describe(found)
            self._send(200, content, {
                "Content-Type": "application/octet-stream",
                "X-Repo-Commit": repository.revision,
                "ETag": f'"{row["lfs"]["sha256"] if "lfs" in row else row["blobId"]}"',
            })  # fmt: skip
        elif found is None:
            self._send(404, b'{"error": "not here"}', {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def main() -> None:
    """Serve until the supervisor ends."""
    ThreadingHTTPServer((BRIDGE_ADDRESS, HUB_PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
