"""When an operation asks its host, and what it is told: in pyinfra's own order, on hosts that are this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operation import OperationMeta

from tests.unit.deploys import Deploy
from vllm_fleet.converge import Commands, converge
from vllm_fleet.facts import Answers, Question, holds

pytestmark = pytest.mark.usefixtures("machine")


def asks(deploy: Deploy, host: str = "here") -> list[str]:
    """The commands that were questions."""
    return [command for command in deploy.commands[host] if command.startswith("echo --")]


def make(deploy: Deploy, path: Path, command: str = "", *, on: str | None = None, of_fleet: bool = False) -> Any:
    """Add an operation that runs a command, by default one that makes the file, unless the file is there."""

    def act(there: bool) -> Commands:
        if not there:
            yield command or f"touch {path}"

    return deploy.add(
        converge, on=on, name=f"make {path.name}", question=holds(f"[ -e {path} ]"), act=act, of_fleet=of_fleet
    )


def changed(*done: OperationMeta) -> list[bool]:
    return [one.did_change() for one in done]


# ---- on one host ------------------------------------------------------------------------------------------------


def test_many_operations_with_nothing_to_do_cost_one_command(tmp_path: Path) -> None:
    deploy = Deploy()
    there = [tmp_path / str(number) for number in range(20)]
    for path in there:
        path.touch()
    done = [make(deploy, path) for path in there]
    assert deploy.commands == {"here": []}  # nothing is asked before all is known
    deploy.run()
    assert not any(changed(*done))
    (only,) = deploy.commands["here"]
    assert only.count("[ -e ") == len(there)


def test_after_the_first_change_each_operation_asks_for_itself(tmp_path: Path) -> None:
    deploy = Deploy()
    a, b, c = (tmp_path / name for name in "abc")
    a.touch()
    done = [
        make(deploy, a),
        make(deploy, b, f"touch {b} {c}; rm {a}"),
        # asked with the others at first, when all was different
        make(deploy, c),
        make(deploy, a),
        make(deploy, b),
    ]
    deploy.run()
    assert changed(*done) == [False, True, False, True, False]
    assert a.exists()
    # one for all, then each of the last three its own
    assert [command.count("[ -e ") for command in asks(deploy)] == [3, 1, 1, 1]
    assert len(deploy.commands["here"]) == 4 + 2


def test_an_answer_is_out_of_date_while_its_own_operation_goes_on(tmp_path: Path) -> None:
    deploy, path = Deploy(), tmp_path / "a"
    seen = []

    def act(there: bool) -> Commands:
        seen.append(there)
        yield f"touch {path}"
        yield "true"

    for _ in range(2):
        deploy.add(converge, name="an operation", question=holds(f"[ -e {path} ]"), act=act)
    deploy.run()
    assert seen == [False, True]


@pytest.mark.parametrize("look_first", [False, True])
def test_what_was_found_while_preparing_is_asked_anew(tmp_path: Path, look_first: bool) -> None:
    deploy = Deploy(look_first=look_first)
    a, b, c = (tmp_path / name for name in "abc")
    c.touch()
    done = [make(deploy, path) for path in (a, b, c)]
    # as each is declared, only its own question is new
    assert [command.count("[ -e ") for command in asks(deploy)] == ([1, 1, 1] if look_first else [])
    if look_first:
        assert [one.will_change for one in done] == [True, True, False]
    assert not a.exists()
    # meanwhile, while somebody reads the plan
    a.touch()
    c.unlink()
    deploy.commands["here"].clear()
    deploy.run()
    assert changed(*done) == [False, True, True]
    assert [command.count("[ -e ") for command in asks(deploy)] == [3, 1]


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    deploy = Deploy(look_first=True)
    a, b = tmp_path / "a", tmp_path / "b"
    for path in (a, b, a):
        make(deploy, path)
    assert not a.exists()
    # and no answer counts as out of date for it
    assert deploy.commands["here"] == asks(deploy)
    assert len(asks(deploy)) == 2


# ---- on several -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_fleet", [False, True])
def test_what_hangs_on_other_hosts_is_asked_again_when_one_changed(tmp_path: Path, of_fleet: bool) -> None:
    deploy = Deploy("one", "two")
    there, path = tmp_path / "there", tmp_path / "path"
    there.touch()
    for host in ("one", "two"):
        make(deploy, there, on=host)  # now both have asked for all
    make(deploy, path, on="one")
    make(deploy, there, on="two")
    done = make(deploy, path, "false", on="two", of_fleet=of_fleet)
    if of_fleet:
        deploy.run()
        assert not done.did_change()
        assert [command.count("[ -e ") for command in asks(deploy, "two")] == [2, 1]
    else:
        # what it was told at first
        with pytest.raises(Exception, match="hosts failed"):
            deploy.run()
        assert len(asks(deploy, "two")) == 1


def test_what_hangs_on_other_hosts_is_asked_once_when_none_changed(tmp_path: Path) -> None:
    deploy = Deploy("one", "two")
    for _ in range(3):
        for host in ("one", "two"):
            make(deploy, tmp_path, on=host, of_fleet=True)
    deploy.run()
    assert [len(commands) for commands in deploy.commands.values()] == [1, 1]


def test_a_change_on_one_host_costs_the_others_nothing(tmp_path: Path) -> None:
    deploy = Deploy("one", "two")
    a, b = tmp_path / "a", tmp_path / "b"
    a.touch()
    for path in (a, b, a, a):
        make(deploy, path, on="one")
        make(deploy, a, on="two")
    deploy.run()
    # one for all, and one after the change: that answer holds until the next
    assert len(asks(deploy, "one")) == 2
    assert len(deploy.commands["two"]) == 1


# ---- questions asked together -----------------------------------------------------------------------------------


def joined(names: list[str]) -> str:
    return f"printf '%s\\n' {' '.join(names)}"


def reading(name: str, join: Callable[[list[str]], str] | None = joined) -> Question:
    return Question(joined([name]), lambda lines: lines, about=name, join=join)


def test_questions_that_join_are_one_command_and_have_the_same_answer() -> None:
    deploy = Deploy()
    seen: list[tuple[str, list[str]]] = []

    def act(name: str) -> Callable[[list[str]], Commands]:
        def note(lines: list[str]) -> Commands:
            seen.append((name, lines))
            if name == "b":
                yield "true"

        return note

    for name, join in [("a", joined), ("alone", None), ("b", joined), ("a", joined), ("alone", None), ("c", joined)]:
        deploy.add(converge, name=name, question=reading(name, join), act=act(name))
    deploy.run()
    together = ["a", "b", "c"]
    # from the change that b makes on, each asks for itself
    assert seen == [
        ("a", together), ("alone", ["alone"]), ("b", together), ("a", ["a"]), ("alone", ["alone"]), ("c", ["c"]),
    ]  # fmt: skip
    assert [command.count("printf") for command in asks(deploy)] == [2, 1, 1, 1]


# ---- a host that does not answer --------------------------------------------------------------------------------


def test_a_host_that_answers_too_little_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Answers.process
    monkeypatch.setattr(Answers, "process", lambda fact, output: read(fact, output)[1:])
    deploy = Deploy()
    for name in "abc":
        make(deploy, tmp_path / name)
    with pytest.raises(OperationError) as raised:
        deploy.run()
    assert str(raised.value) == "here answered 2 of 3 questions; try again with -vvv"
    assert not any(tmp_path.glob("[abc]"))


def test_a_command_that_fails_fails_the_host(tmp_path: Path) -> None:
    deploy = Deploy()
    make(deploy, tmp_path / "a", "false")
    make(deploy, tmp_path / "b")
    with pytest.raises(Exception, match="No hosts remaining"):
        deploy.run()
    assert not (tmp_path / "b").exists()


def test_pyinfra_still_uses_what_we_replace_in_it() -> None:
    from pyinfra.api import arguments, util

    assert {"stack", "getframeinfo"} <= {*util.get_operation_order_from_stack.__code__.co_names}
    assert "all_global_arguments" in arguments.pop_global_arguments.__code__.co_names
