"""Running other programs: output goes to a log, and a failure is one line with the end of that log."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

TAIL_LINES = 12


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, or nothing if there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def logged(argv: Sequence[str], log: Path, what: str, *, mend: str = "", env: Mapping[str, str] | None = None) -> None:
    """Run to the end with all output in `log`; `what` and `mend` make the error line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        out.write(f"$ {' '.join(argv)}\n")
        out.flush()
        code = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, check=False
        ).returncode
    if code != 0:
        raise LabError(
            f"{what} failed (exit {code}); {mend or 'the end of its log follows'}; log: {log}", detail=tail(log)
        )


def output(argv: Sequence[str]) -> str:
    """Standard output of a short program, empty if it fails or is not there."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def quiet(argv: Sequence[str]) -> bool:
    """Run a short program whose failure is an answer, not an error."""
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
