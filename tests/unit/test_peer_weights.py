"""The program that copies weights between hosts, against itself over loopback."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_fleet.payload import peer_weights
from vllm_fleet.payload.peer_weights import SUMS, Sharer, main

FILES = {"config.json": b"{}", "model 1.safetensors": os.urandom(3 << 20), "sub/empty": b""}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "models" / "maker--model" / "abc"
    lines = ""
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        lines += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (directory / SUMS).write_text(lines)
    return directory


@pytest.fixture
def peer(model: Path) -> Iterator[str]:
    with Sharer(model.parents[1], "127.0.0.1", 0) as sharer:
        threading.Thread(target=sharer.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{sharer.server_port}/maker--model/abc"
        sharer.shutdown()


def sums(model: Path) -> str:
    return hashlib.sha256((model / SUMS).read_bytes()).hexdigest()


def test_every_file_arrives_and_the_list_last(model: Path, peer: str, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    assert main(["fetch", peer, sums(model), str(part)]) == 0
    assert {str(path.relative_to(part)) for path in part.rglob("*") if path.is_file()} == {*FILES, SUMS}
    assert all((part / name).read_bytes() == content for name, content in FILES.items())


def test_another_list_of_sums_is_refused(
    model: Path, peer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", peer, "0" * 64, str(tmp_path / "part")]) == 1
    assert capsys.readouterr().err == f"{peer}: SHA256SUMS is not the one that the deploy saw there\n"
    assert not (tmp_path / "part").exists()


def test_a_damaged_file_is_named_and_the_copy_is_not_complete(
    model: Path, peer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "model 1.safetensors").write_bytes(b"other")
    assert main(["fetch", peer, sums(model), str(tmp_path / "part")]) == 1
    assert capsys.readouterr().err == f"{peer}: model 1.safetensors arrived damaged\n"
    assert not (tmp_path / "part" / SUMS).exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_a_list_that_leads_elsewhere_is_refused(
    model: Path, peer: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / SUMS).write_text(f"{'0' * 64}  {name}\n")
    assert main(["fetch", peer, sums(model), str(tmp_path / "part")]) == 1
    assert "leads out of the directory" in capsys.readouterr().err


def test_directories_are_not_listed_and_nothing_beside_them_is_given(model: Path, peer: str) -> None:
    (model.parents[2] / "secret").write_text("secret")
    root = peer.removesuffix("/maker--model/abc")
    for path in ("", "/maker--model/", "/../secret", "/%2e%2e/secret"):
        with pytest.raises(OSError, match="HTTP 404"):
            peer_weights._open(root + path)


def test_a_peer_that_is_not_there_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer_weights, "START_SECONDS", 0.3)
    assert main(["fetch", "http://127.0.0.1:9/model", "0" * 64, str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("http://127.0.0.1:9/model: ")


def test_it_ends_when_nobody_asks_any_more(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_weights, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(Sharer, "timeout", 0.05)
    with Sharer(model, "127.0.0.1", 0) as sharer:
        sharer.count(+1)  # a transfer goes on
        thread = threading.Thread(target=sharer.run)
        thread.start()
        thread.join(0.4)  # it has looked several times
        assert thread.is_alive()
        sharer.count(-1)
        thread.join(5)
        assert not thread.is_alive()


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["share"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
