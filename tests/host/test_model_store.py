"""GPU hosts: the weights are all there, are what was pinned, and stay so."""

from __future__ import annotations

import pytest

from tests.host.conftest import Engine
from vllm_fleet import paths

_SMALL_BYTES = 2**30


def _directory(engine: Engine) -> str:
    return paths.model(engine.placement.service.model.directory_name)


def test_the_weights_are_there(engine: Engine) -> None:
    directory = engine.on.shell.file(_directory(engine))
    assert directory.is_directory
    assert {"SHA256SUMS", "config.json"} <= set(directory.listdir())


def test_the_weights_match_their_checksums(engine: Engine, pytestconfig: pytest.Config) -> None:
    directory = _directory(engine)
    size = int(engine.on.run(f"du --summarize --bytes {directory}").split()[0])
    if size > _SMALL_BYTES and not pytestconfig.getoption("--checksums"):
        pytest.skip(f"{size / 2**30:.0f} GiB to read: give --checksums")
    assert engine.on.run(f"cd {directory} && sha256sum --check --quiet --strict SHA256SUMS") == ""
    # a file that the list does not name would be loaded unchecked
    listed = set(engine.on.run(f"cd {directory} && cut -c67- SHA256SUMS | sed 's#^\\./##'").splitlines())
    present = set(engine.on.run(f"cd {directory} && find . -type f -printf '%P\\n'").splitlines())
    assert present - listed <= {"SHA256SUMS"}


def test_the_engine_can_read_but_not_change_the_weights(engine: Engine) -> None:
    # group 0, as engines run with it
    as_engine = f"cd / && setpriv --reuid={paths.SERVICE_UID} --regid=0 --clear-groups"
    directory = _directory(engine)
    assert engine.on.succeeds(f"{as_engine} test -r {directory}/config.json")
    assert engine.on.run(f"{as_engine} find {paths.MODELS} -writable -print -quit") == ""
