"""How our operations work: each is a question about a host, and what to do about its answer.

A deploy with nothing to do costs one command a host: before the first answer is used, the questions of all operations
that are known by then are asked together. With `pyinfra -y` those are all of the deploy's; without, pyinfra looks at
each operation as it is declared, and asks for each. From an operation's first change on, what the host had answered
may be out of date, and each later operation asks for itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, state
from pyinfra.api import FileUploadCommand, FunctionCommand, Host, StringCommand, operation
from pyinfra.api import arguments as pyinfra_arguments
from pyinfra.api import util as pyinfra_util
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operation import OperationMeta

from vllm_fleet.facts import Answers, Question

# pyinfra (3.10, get_operation_order_from_stack) orders operations by their callers' line numbers, and lets `inspect`
# look up the source around each: 5 ms an operation and host, half the time of a deploy with nothing to do on 24 hosts.
# The numbers do without; and the types of its global arguments, read anew for each operation, never change.
pyinfra_util.stack = partial(inspect.stack, 0)
pyinfra_util.getframeinfo = partial(inspect.getframeinfo, context=0)
pyinfra_arguments.all_global_arguments = cache(pyinfra_arguments.all_global_arguments)

Commands = Iterator[str | StringCommand | FileUploadCommand | FunctionCommand]


@dataclass
class _Survey:
    """What is asked of one host, and what it has answered."""

    questions: dict[str, Question] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    executing: bool = False
    changed: bool = False


_surveys: WeakKeyDictionary[Host, _Survey] = WeakKeyDictionary()


def converge(
    name: str, question: Question, act: Callable[[Any], Commands], *, of_fleet: bool = False, at_once: int = 0
) -> OperationMeta:
    """An operation that asks `question` and runs the commands that `act` makes of the answer; none when all is well.

    + at_once: on how many hosts it may run at the same time; 0 for all
    + of_fleet: the answer hangs on other hosts too, so a change on any of them makes it out of date
    """
    _survey().questions[question.command] = question
    done: OperationMeta = _operation(name=name, question=question, act=act, of_fleet=of_fleet, _parallel=at_once)
    return done


@operation()
def _operation(question: Question, act: Callable[[Any], Commands], of_fleet: bool) -> Commands:
    for command in act(_answer(question, of_fleet)):
        if state.is_executing:
            survey = _survey()
            survey.changed = True
            survey.answers.clear()
        yield command


def _survey() -> _Survey:
    return _surveys.setdefault(_this_host(), _Survey())


def _this_host() -> Host:
    return host.inventory.get_host(host.name)  # `host` itself is a stand-in for whichever host is at work


def _answer(question: Question, of_fleet: bool) -> Any:
    survey = _survey()
    if state.is_executing and not survey.executing:
        # what was found while preparing may have changed since, for a person may have looked at the plan meanwhile
        survey.executing = True
        survey.answers.clear()
    if of_fleet and any(other.changed for other in _surveys.values()):
        survey.answers.pop(question.command, None)
    if question.command not in survey.answers:
        asked = [question] if survey.changed else [*survey.questions.values()]
        survey.answers.update(_ask([one for one in asked if one.command not in survey.answers]))
    return survey.answers[question.command]


def _ask(questions: list[Question]) -> dict[str, Any]:
    """The answers by the questions' commands, for one command on the host."""
    groups: dict[Any, list[Question]] = {}
    for one in questions:
        groups.setdefault(one.join or one.command, []).append(one)
    commands = [one[0].join([each.about for each in one]) if one[0].join else one[0].command for one in groups.values()]
    outputs = host.get_fact(Answers, commands=commands)
    if len(outputs) != len(commands):
        raise OperationError(f"{host.name} answered {len(outputs)} of {len(commands)} questions; try again with -vvv")
    answers: dict[str, Any] = {}
    for together, lines in zip(groups.values(), outputs, strict=True):
        answer = together[0].read(lines)
        answers |= {one.command: answer for one in together}
    return answers
