"""payload/fetch_hub.py: what it takes for a checked file, and what it leaves behind when one is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from vllm_fleet.payload import fetch_hub

# from `git hash-object` and `sha256sum`
EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
HELLO_BLOB = "ce013625030ba8dba906f756967f9e9ca394464a"
HELLO_SHA256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello"
    path.write_text("hello\n")
    return path


def test_digests_are_those_of_git_and_sha256sum(hello: Path) -> None:
    assert fetch_hub.digest(hello, "sha256") == HELLO_SHA256
    assert fetch_hub.git_blob_id(hello) == HELLO_BLOB
    hello.write_bytes(b"")
    assert fetch_hub.git_blob_id(hello) == EMPTY_BLOB


def test_a_file_larger_than_a_piece_has_the_same_digest(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_hub, "CHUNK", 4)
    assert fetch_hub.digest(hello, "sha256") == HELLO_SHA256
    assert fetch_hub.git_blob_id(hello) == HELLO_BLOB


@pytest.mark.parametrize(
    "sha256, blob_id, wrong",
    [
        (HELLO_SHA256, None, None),
        (None, HELLO_BLOB, None),
        # a large file's blob id is that of its pointer, not of its content
        (HELLO_SHA256, EMPTY_BLOB, None),
        ("0" * 64, HELLO_BLOB, "has another sha256 than the hub names"),
        (None, EMPTY_BLOB, "has another git blob id than the hub names"),
        (None, None, "has no checksum on the hub"),
    ],
)
def test_a_file_is_checked_against_what_the_hub_names(
    hello: Path, sha256: str | None, blob_id: str | None, wrong: str | None
) -> None:
    assert fetch_hub.mismatch(hello, sha256, blob_id) == wrong


def test_a_missing_file_is_a_mismatch(tmp_path: Path) -> None:
    assert fetch_hub.mismatch(tmp_path / "absent", HELLO_SHA256, HELLO_BLOB) == "is missing"


# ---- SHA256SUMS -------------------------------------------------------------------------------------------------


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_sha256sum_reads_the_sums_and_finds_a_changed_file(tmp_path: Path) -> None:
    (tmp_path / "sub dir").mkdir()
    names = ["config.json", "sub dir/model 1.safetensors", "sub dir/it's.txt"]
    for name in names:
        (tmp_path / name).write_text(name)
    fetch_hub.write_sums(tmp_path)
    ran = check(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == sorted(f"{name}: OK" for name in names)
    (tmp_path / names[1]).write_text("damaged")
    ran = check(tmp_path)
    assert ran.returncode == 1
    assert f"{names[1]}: FAILED" in ran.stdout


def test_sums_cut_short_by_a_crash_are_written_anew(tmp_path: Path, hello: Path) -> None:
    (tmp_path / "SHA256SUMS.part").write_text("half a li")
    fetch_hub.write_sums(tmp_path)
    assert check(tmp_path).stdout == "hello: OK\n"
    assert not (tmp_path / "SHA256SUMS.part").exists()


def test_only_the_own_sums_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "SHA256SUMS").write_text("a file of the model's")
    (tmp_path / "SHA256SUMS").write_text("of an earlier run")
    fetch_hub.write_sums(tmp_path)
    assert check(tmp_path).stdout == "original/SHA256SUMS: OK\n"


# ---- the program ------------------------------------------------------------------------------------------------


class Hub:
    """In place of the package `huggingface_hub`: lists two files, and downloads what `served` holds."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.served = {"config.json": "hello\n", "weights/model.safetensors": "hello\n"}
        self.siblings: list[SimpleNamespace] | None = [
            SimpleNamespace(rfilename="config.json", blob_id=HELLO_BLOB, lfs=None),
            SimpleNamespace(
                rfilename="weights/model.safetensors", blob_id=EMPTY_BLOB, lfs=SimpleNamespace(sha256=HELLO_SHA256)
            ),
        ]

    def HfApi(self) -> Hub:
        return self

    def model_info(self, repository: str, revision: str, files_metadata: bool) -> SimpleNamespace:
        self.asked.append((repository, revision))
        return SimpleNamespace(siblings=self.siblings if files_metadata else None)

    def snapshot_download(self, repository: str, revision: str, local_dir: Path) -> None:
        self.asked.append((repository, revision))
        for name, content in self.served.items():
            (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / name).write_text(content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub, module = Hub(), ModuleType("huggingface_hub")
    vars(module).update(HfApi=hub.HfApi, snapshot_download=hub.snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return hub


def run(directory: Path) -> int:
    return fetch_hub.main(["maker/model", REVISION, str(directory)])


def test_a_checked_model_has_its_sums(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    assert capsys.readouterr() == ("", "")
    assert hub.asked == [("maker/model", REVISION)] * 2
    assert (tmp_path / "SHA256SUMS").read_text() == (
        f"{HELLO_SHA256}  config.json\n{HELLO_SHA256}  weights/model.safetensors\n"
    )


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("config.json", "has another git blob id than the hub names"),
        ("weights/model.safetensors", "has another sha256 than the hub names"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_called_complete(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, wrong: str
) -> None:
    hub.served[name] = "hellO\n"
    assert run(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"maker/model at 0123456789ab: {name} {wrong}; fetch again, or pin another revision\n"
    )
    assert not (tmp_path / "SHA256SUMS").exists()


def test_a_file_that_was_not_downloaded_is_named(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del hub.served["config.json"]
    assert run(tmp_path) == 1
    assert "config.json is missing; " in capsys.readouterr().err


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError("404 Client Error.\n\nRepository Not Found for url: http://hub"), "404 Client Error."),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_clients_errors_are_one_line(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(hub, "model_info", fail)
    assert run(tmp_path) == 1
    assert capsys.readouterr().err == f"maker/model at 0123456789ab: {said}\n"


def test_wrong_arguments_are_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_hub.main(["maker/model"]) == 2
    assert capsys.readouterr().err == "usage: fetch_hub.py REPOSITORY REVISION DIRECTORY\n"
