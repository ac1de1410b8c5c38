"""Whatever is written: what vLLM does not have never passes, and nothing raises."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.unit.contract import VERSIONS, problems, snapshot
from vllm_fleet.engine.contract import check_text, environment, metrics
from vllm_fleet.engine.contract.parse import parse
from vllm_fleet.engine.contract.values import Refused, read, unknown_keys
from vllm_fleet.schema import ConfigError

NAME = st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True)
WORD = st.one_of(st.text(max_size=20), NAME.map("--{}".format), st.sampled_from(sorted(snapshot().spellings)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
VERSION = st.sampled_from(VERSIONS)


@given(NAME, st.lists(st.text(max_size=8), max_size=2), VERSION)
def test_an_unknown_option_never_passes(name: str, words: list[str], version: str) -> None:
    assume(f"--{name}" not in snapshot(version).spellings)
    found = parse(snapshot(version), ["model", f"--{name}", *words], lambda option: option)
    assert found.problems


@given(st.sampled_from(sorted(snapshot().options)), st.data())
def test_no_abbreviation_passes(name: str, data: st.DataObject) -> None:
    short = f"--{name[: data.draw(st.integers(1, len(name)))]}"
    assume(short not in snapshot().spellings)
    assert parse(snapshot(), ["model", short], lambda option: option).problems


@given(NAME)
def test_an_unknown_option_of_a_service_never_passes(name: str) -> None:
    assume(f"--{name}" not in snapshot().spellings and name not in snapshot().options)
    assert problems(options={name: 1})


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data(), key=st.from_regex(r"[a-z_]{1,20}", fullmatch=True), value=JSON)
def test_an_unknown_key_of_an_object_never_passes(version: str, data: st.DataObject, key: str, value: Any) -> None:
    known = snapshot(version)
    name = data.draw(st.sampled_from(sorted(known.classes)))
    assume(key not in known.classes[name])
    (problem,) = unknown_keys(known, name, {key: value}, "x")
    assert problem.path == f"x.{key}"


@given(st.from_regex(r"VLLM_[A-Z_]{1,20}", fullmatch=True), st.text(max_size=8), VERSION)
def test_an_unknown_variable_never_passes(name: str, value: str, version: str) -> None:
    assume(name not in snapshot(version).environment)
    assert list(environment.check(snapshot(version), {name: value}, ""))


@given(st.from_regex(r"vllm:[a-z_]{1,20}", fullmatch=True), VERSION)
def test_an_unknown_metric_never_passes(name: str, version: str) -> None:
    assume(name not in metrics.series(snapshot(version)))
    assert list(metrics.check(snapshot(version), {name: "x"}))


@given(st.lists(WORD, max_size=8), VERSION)
def test_no_command_line_raises(words: list[str], version: str) -> None:
    found = parse(snapshot(version), words, lambda option: option)
    assert all("\n" not in str(problem) for problem in found.problems if "\n" not in "".join(words))


@given(st.sampled_from(sorted(snapshot().options)), st.text(max_size=12))
def test_no_value_raises_anything_else(option: str, text: str) -> None:
    with contextlib.suppress(Refused):  # one line is what a refusal should be
        read(snapshot().options[option], text)


@given(st.sampled_from(sorted(snapshot().options)), JSON)
def test_no_option_of_a_service_raises(option: str, value: Any) -> None:
    with contextlib.suppress(ConfigError):  # the schema's own: a field of the service, or set from the placement
        problems(options={option: value})


@given(st.text(max_size=200))
def test_no_file_raises(text: str) -> None:
    check_text(snapshot(), text, "f")
    check_text(snapshot(), f"vllm serve {text}", "f")


@given(st.lists(WORD, max_size=6))
@example(["-lora-modules", ""])
def test_every_problem_is_one_printable_line(words: list[str]) -> None:
    found, _ = check_text(snapshot(), f"vllm serve x {shlex.join(words)}", "f")
    assert all(str(problem).isprintable() for problem in found)


@given(JSON, VERSION)
def test_any_object_can_be_looked_at(content: Any, version: str) -> None:
    for name in snapshot(version).classes:
        assert all(problem.fix for problem in unknown_keys(snapshot(version), name, content, "x"))
