"""The one way to a host's files and commands."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

OUTPUT_BYTES = 8 << 20
"""How much of a command's output is read: 20,000 kernel lines of 400 bytes."""


@dataclass(frozen=True)
class Machine:
    """A host, with its file system at `root`; commands are those on PATH."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """A file's text; None where there is none. Raises OSError where it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def run(self, *command: str) -> str | None:
        """What a command prints, at most OUTPUT_BYTES and whatever its exit status; None where there is no such
        command. Has no deadline: who asks gives up (deadline.py)."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"LC_ALL": "C"},
            )
        except (FileNotFoundError, PermissionError):
            return None
        assert process.stdout
        with process, process.stdout as output:
            return output.read(OUTPUT_BYTES).decode(errors="replace")
