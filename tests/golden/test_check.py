"""What `fleet check` prints for a file of every command that four articles recommend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.test_contract_seeds import ROWS
from vllm_fleet.cli import main


def test_a_file_of_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("articles.sh").write_text("\n".join(row["command"].rstrip("\n") + "\n" for row in ROWS), encoding="utf-8")
    ran = CliRunner().invoke(main, ["check", "articles.sh"])
    assert ran.exit_code == 1
    golden("check-articles.txt", ran.stdout)
