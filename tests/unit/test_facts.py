"""The one fact and its questions: asked by a real shell, their output read as pyinfra reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploys import ODD_NAMES
from vllm_fleet.facts import Answers, Question, holds, names_in


def ask(*questions: Question) -> list[Any]:
    """What a host answers to each question; without a line of output a fact is its default, as in pyinfra."""
    fact = Answers()
    command = fact.command(commands=[question.command for question in questions])
    # standard input is open and does not end, as a terminal's
    with subprocess.Popen(["sleep", "10"], stdout=subprocess.PIPE) as silence:
        ran = subprocess.run(["sh", "-c", command], stdin=silence.stdout, capture_output=True, text=True, timeout=8)
        silence.kill()
    assert (ran.returncode, ran.stderr) == (0, "")
    answers = fact.process(ran.stdout.splitlines()) if ran.stdout else fact.default()
    return [question.read(lines) for question, lines in zip(questions, answers, strict=True)]


def lines_of(command: str) -> Question:
    return Question(command, list)


# ---- many questions in one command ------------------------------------------------------------------------------


def test_each_question_has_its_own_lines() -> None:
    asked = ["echo a; echo; echo ' b	c'", "true", "printf '%s\\n' '--' '-n'", "cat", "echo größe"]
    assert ask(*map(lines_of, asked)) == [["a", "", " b\tc"], [], ["--", "-n"], [], ["größe"]]


def test_no_question_is_no_answer() -> None:
    assert ask() == []


@pytest.mark.parametrize("command", ["false", "exit 3", "set -e; false; echo no", "no-such-command", "echo lost >&2"])
def test_a_question_that_fails_leaves_the_others_alone(command: str) -> None:
    here = str(Path.cwd())
    assert ask(lines_of("pwd"), lines_of(command), lines_of("pwd")) == [[here], [], [here]]


def test_settings_of_a_question_do_not_reach_the_next() -> None:
    assert ask(lines_of("answer=42; cd /"), lines_of('echo "[$answer]"; pwd')) == [[], ["[]", str(Path.cwd())]]


def test_what_is_no_answer_is_not_read() -> None:
    fact = Answers()
    fact.command(commands=["echo a"])
    # a profile that greets, and a mark of another run
    assert fact.process(["Welcome!", "--0123456789abcdef0123456789abcdef", "a"]) == []


# ---- tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "test, expected",
    [
        ("true", True),
        ("false", False),
        ("false || true", True),
        ("true && false", False),
        ("false; true", True),
        ("[ 'a b' = \"a b\" ]", True),
        ("echo yes; false", False),
        ("echo no", True),
        ("echo not shown >&2; true", True),
        ("no-such-command", False),
        ("exit 3", False),
    ],
)
def test_whether_a_command_succeeds(test: str, expected: bool) -> None:
    assert ask(holds(test), holds("true")) == [expected, True]


# ---- names ------------------------------------------------------------------------------------------------------


def test_names_in_a_directory_are_sorted(tmp_path: Path) -> None:
    directory = tmp_path / "the engines"
    directory.mkdir()
    for name in ("b", "B", "a c"):
        (directory / name).mkdir()
    assert ask(names_in(str(directory))) == [["B", "a c", "b"]]


def test_names_may_be_odd(tmp_path: Path) -> None:
    for name in ODD_NAMES:
        for inner in ODD_NAMES:
            (tmp_path / name / inner).mkdir(parents=True)
    answers = ask(*(names_in(str(tmp_path / name)) for name in ODD_NAMES))
    assert answers == [sorted(ODD_NAMES)] * len(ODD_NAMES)


def test_an_absent_directory_has_no_names(tmp_path: Path) -> None:
    assert ask(names_in(str(tmp_path / "absent"))) == [[]]
