"""What `fleet check` prints for a file of every command that four articles recommend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.test_contract_seeds import ROWS
from vllm_fleet.cli import main

EXPECTED = Path(__file__).parent / "expected" / "check-articles.txt"


def test_the_readme_shows_what_is_printed() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()
    begin = readme.index("    $ fleet check articles.sh") + 1
    shown = [line.removeprefix("    ") for line in readme[begin : readme.index("", begin)]]
    printed = EXPECTED.read_text(encoding="utf-8").splitlines()
    assert shown == [line for line in printed if line in shown]
    assert len(shown) > 5


def test_a_file_of_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]
) -> None:
    script = "\n".join(row["command"].rstrip("\n") + "\n" for row in ROWS)
    golden("articles.sh", script)
    monkeypatch.chdir(tmp_path)
    Path("articles.sh").write_text(script, encoding="utf-8")
    ran = CliRunner().invoke(main, ["check", "articles.sh"])
    assert ran.exit_code == 1
    golden("check-articles.txt", ran.stdout)
