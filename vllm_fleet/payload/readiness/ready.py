"""Does an engine answer? Waits for it, says why it does not, and goes back to the last release that did.

    readiness INSTANCE ... --once    exit 0 if each answers a one-token completion with the release of `current`
    readiness INSTANCE ... --wait    the same within `start_seconds`; then `good` points to the release, or the
                                     reason is on standard error and the engine is back on `good`; exit 1 then

Runs on the host as root, with Python's standard library only (3.11). /health and /v1/models are not asked: both stay
200 with a dead or frozen engine (measured on vLLM 0.32), only a completion tells.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .completion import ONCE_SECONDS, Answer, ask, key_of
from .engine import ENGINES, Engine, load, runs_current, switched
from .failures import Failure, error_lines, failure_of, phase_of, redact
from .journal import Journal, Unit, problem_of, run_command, show, split

FIRST_SECONDS = 60.0
"""For a completion while waiting: an engine's first may compile kernels."""
POLL_SECONDS = 2.0
RELEASES_KEPT = 2
"""Old releases that stay for a person to go back to, beside the current and the last good one."""


def point(link: Path, target: str) -> None:
    """Point a link at a target in one step: a reader finds the old target or the new one."""
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def target_of(link: Path) -> str | None:
    """The release that a link names; None without the link or without that release."""
    return Path(os.readlink(link)).name if link.is_symlink() and link.exists() else None


def check(engine: Engine, unit: Unit, seconds: float) -> Answer:
    """Whether the engine serves, now, with the release of `current`."""
    if unit.started is None or not runs_current(unit, engine.directory):
        return Answer(False, f"its unit is {unit.active} ({unit.sub}) and does not run release {engine.release} yet")
    # rank 0's API stands for all: the ranks of a model that spans hosts start after each of their units has
    return ask(engine.url, engine.model_name, key_of(engine.directory), unit.started.timestamp(), seconds)


@dataclass(frozen=True)
class Problem:
    """Why an engine is not ready."""

    phase: str
    what: str
    mend: str
    lines: list[str]


def restart(engine: Engine) -> None:
    """Restart the unit; what comes of it, `wait` sees. A stop may take as long as the engine drains."""
    run_command("systemctl", "reset-failed", engine.unit)  # else a unit that hit its start limit refuses
    with contextlib.suppress(subprocess.TimeoutExpired):  # systemd goes on with the job
        run_command("systemctl", "restart", engine.unit, seconds=engine.start_seconds)


def wait(engine: Engine, say: Callable[[str], None]) -> Problem | None:
    """Wait until the engine serves (None), or until it is known not to, at most `start_seconds`."""
    begin = time.monotonic()
    first = show(engine.unit)
    if first.pid and not runs_current(first, engine.directory):
        # a deploy was cut off between switching the release or key and restarting
        say(f"{engine.instance}: still runs with an older release or key; restarting it")
        restart(engine)
        first = show(engine.unit)
    activated = first.activated.timestamp() if first.activated else 0.0
    journal = Journal(engine.unit, max(switched(engine.directory), activated))
    shown, restarts, answer = "", first.restarts, Answer(False)
    while True:
        unit = show(engine.unit)
        restarts = min(restarts, unit.restarts)
        left = begin + engine.start_seconds - time.monotonic()
        answer = check(engine, unit, max(1.0, min(FIRST_SECONDS, left)))
        if answer.ok:
            return None
        ended, live = split(journal.read(), unit)
        step = phase_of(live) if unit.alive else "waiting for a restart"
        if step != shown:
            shown = step
            say(f"{engine.instance}: {step} ({time.monotonic() - begin:.0f} s)")
        if failure := problem_of(unit, restarts, ended):
            return _explain(engine, journal, unit, failure, of_ended=True)
        if answer.refused and step == "serving":  # earlier it is not this engine that answers, but who holds its port
            mend = "deploy again; if it persists, compare secret.yaml and the release's start with the service"
            return _problem(engine, live, Failure("", answer.why, mend))
        if left <= 0:
            what = f"no answer within {engine.start_seconds} s (last: {answer.why})"
            mend = f"raise start_seconds if it was still on its way, else read journalctl -u {engine.unit}"
            return _explain(engine, journal, unit, Failure("", what, mend), of_ended=False)
        time.sleep(min(POLL_SECONDS, left))  # an engine starts; bounded by start_seconds


def _explain(engine: Engine, journal: Journal, unit: Unit, failure: Failure, *, of_ended: bool) -> Problem:
    """The problem with its last lines: of the start that ended last, or of the one that goes on."""
    run_command("journalctl", "--sync")  # a process's last words may reach the journal after its end
    ended, live = split(journal.read(), unit)
    lines = ended[-1] if ended and (of_ended or not live) else live
    if not failure.pattern:  # nothing was known: what came late, an earlier start or the kernel may tell more
        failure = failure_of([line for run in [*ended, live] for line in run] + journal.kernel()) or failure
    return _problem(engine, lines, failure)


def _problem(engine: Engine, lines: Sequence[str], failure: Failure) -> Problem:
    """A failure in words; `what` may quote a line of the journal, so secrets go there too."""
    key = key_of(engine.directory)
    return Problem(phase_of(lines), redact(failure.what, [key]), failure.mend, error_lines(lines, [key]))


def roll_back(engine: Engine, say: Callable[[str], None]) -> str:
    """Return to the last release that answered, where there is another; says what came of it."""
    current, good = engine.directory / "current", target_of(engine.directory / "good")
    if good is None:
        return "not rolled back: no release has answered yet"
    if good == engine.release:
        return "not rolled back: this release is the last that answered"
    if target_of(current) != engine.release:
        return "not rolled back: another deploy has switched the release meanwhile"
    point(current, f"releases/{good}")
    earlier = load(engine.instance, engine.directory.parent)
    say(f"{engine.instance}: going back to release {good}")
    restart(earlier)
    problem = wait(earlier, say)
    if problem:
        return f"rolled back to release {good}, which does not answer either: {problem.what}"
    return f"rolled back to release {good}, which answers"


def prune(engine: Engine) -> None:
    """Remove old releases, but those the links name and the latest two of the others."""
    linked = {target_of(engine.directory / name) for name in ("current", "good")}
    others = [one for one in (engine.directory / "releases").iterdir() if one.name not in linked]
    for old in sorted(others, key=lambda one: one.stat().st_mtime)[:-RELEASES_KEPT]:
        shutil.rmtree(old)


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(prog="readiness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("instances", nargs="+", metavar="INSTANCE")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--once", action="store_true", help="ask once, within 10 s")
    mode.add_argument("--wait", action="store_true", help="wait up to start_seconds, then mark good or roll back")
    chosen = parser.parse_args(arguments)
    # every engine has its turn, whatever came of the one before
    return max([_one(instance, once=chosen.once) for instance in chosen.instances])


def _one(instance: str, *, once: bool) -> int:
    try:
        engine = load(instance, ENGINES)
        return _once(engine) if once else _wait(engine)
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        _complain(f"{instance}: not ready: starting: {type(error).__name__}: {error}; deploy the engine again")
        return 1


def _once(engine: Engine) -> int:
    answer = check(engine, show(engine.unit), ONCE_SECONDS)
    print(f"{engine.instance}: {'answers' if answer.ok else f'does not answer: {answer.why}'}")
    return 0 if answer.ok else 1


def _wait(engine: Engine) -> int:
    begin = time.monotonic()
    problem = wait(engine, _say)
    if problem is None:
        point(engine.directory / "good", f"releases/{engine.release}")
        prune(engine)
        _say(f"{engine.instance}: answers (release {engine.release}, {time.monotonic() - begin:.0f} s)")
        return 0
    _complain(f"{engine.instance}: not ready: {problem.phase}: {problem.what}; {problem.mend}")
    for line in problem.lines:
        _complain(f"  {line}")
    _complain(f"{engine.instance}: {roll_back(engine, _say)}")
    return 1


def _say(line: str) -> None:
    print(line, flush=True)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
