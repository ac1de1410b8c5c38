"""payload/readiness/journal.py: starts in the journal, a unit's state, and when waiting longer is no use."""

from __future__ import annotations

import pytest

from tests.unit.readiness import BAD_OPTION, NO_MEMORY, journal_line, shown
from vllm_fleet.payload.readiness import journal


def test_journal_entries_are_text_with_the_start_they_belong_to() -> None:
    coloured = list(b"\x1b[32mINFO\x1b[0m hello")
    output = "\n".join(
        [
            journal_line("Started vllm-chat.service.", INVOCATION_ID="aa", _SYSTEMD_INVOCATION_ID="of-pid-1"),
            journal_line(coloured, _SYSTEMD_INVOCATION_ID="aa"),
            journal_line(" 10%\r 99%\r", _SYSTEMD_INVOCATION_ID="aa"),
            journal_line(None),
            journal_line("Started again", INVOCATION_ID="bb"),
        ]
    )
    entries = journal.entries_of(output)
    assert [entry.text for entry in entries] == [
        "Started vllm-chat.service.",
        "INFO hello",
        " 99%",
        "",
        "Started again",
    ]
    assert journal.runs_of(entries) == {
        "aa": ["Started vllm-chat.service.", "INFO hello", " 99%", ""],
        "bb": ["Started again"],
    }


def test_a_unit_is_read_from_systemctl_show() -> None:
    unit = journal.unit_of(shown())
    assert (unit.loaded, unit.active, unit.sub, unit.pid, unit.restarts) == (True, "active", "running", 42, 0)
    assert unit.alive
    assert unit.started is not None
    assert unit.started.isoformat() == "2026-11-21T08:07:00.250000+00:00"


def test_a_unit_that_never_ran_has_no_times() -> None:
    unit = journal.unit_of("LoadState=not-found\nActiveState=inactive\nExecMainStartTimestamp=n/a\nMainPID=0\n")
    assert not unit.loaded
    assert unit.started is None
    assert not unit.alive


RUNS = {"aa": ["first"], "bb": ["second"], "cc": ["third"]}


@pytest.mark.parametrize(
    ("unit", "ended", "live"),
    [
        (shown(invocation="bb"), [["first"]], ["second"]),
        (shown("activating", "auto-restart", invocation="bb"), [["first"], ["second"]], []),
        (shown(invocation="dd"), [["first"], ["second"], ["third"]], []),
    ],
    ids=["runs", "between two starts", "has not written yet"],
)
def test_starts_that_ended_are_told_from_the_one_that_goes_on(
    unit: str, ended: list[list[str]], live: list[str]
) -> None:
    assert journal.split(RUNS, journal.unit_of(unit)) == (ended, live)


def test_a_unit_between_two_starts_is_not_alive() -> None:
    assert not journal.unit_of(shown("activating", "auto-restart")).alive
    assert journal.unit_of(shown("activating", "start-pre")).alive


def what_of(unit: str, ended: list[list[str]], first_restarts: int = 0) -> str | None:
    problem = journal.problem_of(journal.unit_of(unit), first_restarts, ended)
    return problem.what if problem else None


def test_what_no_restart_mends_ends_the_wait_at_once() -> None:
    told = what_of(shown("activating", "auto-restart"), [BAD_OPTION])
    assert told == "vLLM refuses an option: unrecognized arguments: --swap-space 4"


def test_what_may_pass_is_waited_for_until_the_third_restart() -> None:
    assert what_of(shown(restarts=2), [NO_MEMORY]) is None
    assert what_of(shown(restarts=3), [NO_MEMORY]) == "the weights leave no memory for the KV cache"
    exits = [["?", f"vllm-chat.service: Main process exited, code=exited, status={status}"] for status in "231"]
    assert what_of(shown(restarts=7), exits, 4) == "it ended 3 times, last with status 1"
    assert what_of(shown(restarts=7), [["vllm-chat.service: Deactivated successfully."]], 4) == (
        "it ended 3 times, last with status 0"
    )


def test_restarts_before_the_wait_do_not_count() -> None:
    assert what_of(shown(restarts=9), [], 9) is None
    assert what_of(shown(restarts=2), [], 9) is None


def test_a_unit_that_systemd_gave_up_or_does_not_know_is_a_problem() -> None:
    assert what_of(shown("failed", "failed"), []) == "its unit is failed"
    assert what_of(shown("failed", "failed"), [NO_MEMORY]) == "the weights leave no memory for the KV cache"
    assert what_of("LoadState=not-found", []) == "systemd does not know its unit"
