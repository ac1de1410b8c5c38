"""The operations of weights and engines, run by pyinfra on this machine as test_operations.py does.

systemctl and the readiness program are a test's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.unit.deploys import Apply, Deploy, Systemd, applier
from vllm_fleet import paths
from vllm_fleet.engine.weights import archive_path
from vllm_fleet.operations import await_engines, fetch_weights, prove_fabric, remove_engines, run_unless
from vllm_fleet.roles import engine
from vllm_fleet.schema import Archive, Hub, Secret

pytestmark = pytest.mark.usefixtures("machine")


@pytest.fixture
def apply() -> Apply:
    return applier()


def test_weights_are_fetched_once_with_a_token_that_does_not_stay(
    apply: Apply, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB_TOKEN", "hf_secret")
    source = Hub(name="org/tiny", revision="0" * 40)
    token, fetched = tmp_path / "token", tmp_path / "fetched"
    command = f"stat -c %a {token} > {fetched}; cat {token} >> {fetched}"
    arguments: dict[str, Any] = {
        "source": source, "complete": f"[ -f {fetched} ]", "token": (str(token), Secret(env="HUB_TOKEN")),
    }  # fmt: skip
    with caplog.at_level("DEBUG", "pyinfra"):
        # a fetch that fails leaves no token either
        with pytest.raises(PyinfraError):
            apply(fetch_weights, command="false", **arguments)
        assert not token.exists()
        assert apply(fetch_weights, command=command, **arguments)
        assert not apply(fetch_weights, command=command, **arguments)
    assert fetched.read_text() == "600\nhf_secret\n"
    assert not token.exists()
    assert "hf_secret" not in caplog.text


def test_an_archive_is_sent_before_it_is_unpacked(apply: Apply, tmp_path: Path) -> None:
    (tmp_path / "model.tar").write_text("weights")
    source = Archive(name="org/tiny", path=str(tmp_path / "model.tar"), sha256="e1" * 32)
    sent = Path(archive_path(source))
    try:
        assert apply(
            fetch_weights, source=source, command=f"mv {sent} {tmp_path}/there", complete=f"[ -f {tmp_path}/there ]"
        )
        assert (tmp_path / "there").read_text() == "weights"
    finally:
        sent.unlink(missing_ok=True)


def test_engines_that_are_placed_elsewhere_go(apply: Apply, systemd: Systemd) -> None:
    assert not apply(remove_engines, keep=["chat"])
    for instance in ("chat", "chat-1", "old"):
        Path(paths.engine(instance)).mkdir(parents=True)
        Path(paths.cache(instance)).mkdir(parents=True)
        Path(paths.UNITS).mkdir(parents=True, exist_ok=True)
        Path(f"{paths.UNITS}/vllm-{instance}.service").touch()
    assert apply(remove_engines, keep=["chat"])
    assert systemd.called() == [
        "disable --now vllm-chat-1.service",
        "daemon-reload",
        "disable --now vllm-old.service",
        "daemon-reload",
    ]
    for place, left in [(paths.ENGINES, "chat"), (paths.CACHES, "chat"), (paths.UNITS, "vllm-chat.service")]:
        assert os.listdir(place) == [left]
    assert not apply(remove_engines, keep=["chat"])


class Readiness:
    """Stands in for the program on the host: notes how it was called, and answers by whether a file is there."""

    def __init__(self, directory: Path) -> None:
        self.calls, self.serves, self.program = (directory / name for name in ("calls", "serves", "readiness"))
        self.program.write_text(f'#!/bin/sh\necho "$*" >> {self.calls}\n[ -e {self.serves} ]\n')
        self.program.chmod(0o755)

    def called(self) -> list[str]:
        """The calls since the last one of this."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def readiness(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Readiness:
    """The engines `chat` and `embed`, whose current releases are noted as good."""
    readiness = Readiness(tmp_path)
    monkeypatch.setattr(paths, "READY_COMMAND", str(readiness.program))
    for instance in ("chat", "embed"):
        Path(paths.engine(instance)).mkdir(parents=True)
        for name in ("current", "good"):
            Path(f"{paths.engine(instance)}/{name}").symlink_to("releases/1")
    return readiness


SECONDS = {"chat": 60, "embed": 600}


def test_engines_that_answer_are_asked_once_together(apply: Apply, readiness: Readiness) -> None:
    readiness.serves.touch()
    assert not apply(await_engines, seconds=SECONDS)
    assert readiness.called() == ["chat embed --once"]


def test_engines_that_do_not_answer_are_waited_for(apply: Apply, readiness: Readiness) -> None:
    with pytest.raises(PyinfraError):
        apply(await_engines, seconds=SECONDS)
    assert readiness.called() == ["chat embed --once", "chat embed --wait"]


def test_a_release_that_is_not_noted_as_good_is_waited_for(apply: Apply, readiness: Readiness) -> None:
    readiness.serves.touch()
    Path(f"{paths.engine('embed')}/good").unlink()
    assert apply(await_engines, seconds=SECONDS)
    assert readiness.called() == ["chat embed --wait"]


def test_engines_are_asked_again_when_another_host_changed(readiness: Readiness) -> None:
    readiness.serves.touch()
    deploy = Deploy("one", "two")
    for host, test in [("one", "true"), ("two", "true"), ("one", "false"), ("two", "true")]:
        deploy.add(run_unless, on=host, name="a step", command="true", test=test)
    deploy.add(await_engines, on="two", name="wait", seconds=SECONDS)
    deploy.run()
    assert readiness.called() == ["chat embed --once"] * 2


def test_a_host_without_engines_waits_for_none() -> None:
    deploy = Deploy()
    deploy.add(engine.ready, placements=[])
    deploy.run()
    assert deploy.commands == {"here": []}


def test_a_network_is_proven_once_by_all_members_at_once(tmp_path: Path) -> None:
    """Each member's command ends only when the other's runs too; a finding of either fails the first host."""
    said = '{"rank": %s, "ok": true, "findings": []}'
    command = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done; echo '{3}'"
    commands = {
        "one": command.format(tmp_path, "one", "two", said % 0),
        "two": command.format(tmp_path, "two", "one", said % 1),
    }
    arguments = {"proven": str(tmp_path / "proofs" / "pair"), "digest": "d1gest", "commands": commands}
    deploy = Deploy("one", "two")
    done = deploy.add(prove_fabric, name="network", **arguments)
    deploy.run()
    assert done.did_change()
    assert (tmp_path / "proofs" / "pair").read_text() == "d1gest\n"


def test_a_network_that_is_not_as_declared_fails_and_is_not_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = '{"rank": 0, "ok": false, "findings": [{"what": "rank 1: no link", "mend": "look at the cable"}]}'
    commands = {"one": f"echo '{found}'; exit 1", "two": "echo no such image >&2; exit 1"}
    deploy = Deploy("one", "two")
    deploy.add(prove_fabric, name="network", proven=str(tmp_path / "pair"), digest="d1gest", commands=commands)
    with caplog.at_level("INFO", "pyinfra"), pytest.raises(PyinfraError):
        deploy.run()
    assert "rank 1: no link; look at the cable" in caplog.text
    assert "two: the check did not run: no such image" in caplog.text
    assert not (tmp_path / "pair").exists()
