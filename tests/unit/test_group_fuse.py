"""payload/group/fuse.py: failures of one release in a row, and the pauses they ask for."""

from __future__ import annotations

from pathlib import Path

from vllm_fleet.payload.group import fuse
from vllm_fleet.payload.group.fuse import Fuse


def test_the_fuse_counts_one_release_and_forgets_what_ran_for_long(tmp_path: Path) -> None:
    first = Fuse(tmp_path, "v1", 0)
    assert [first.failures, first.failed(), first.failures] == [0, False, 1]
    assert Fuse(tmp_path, "v1", 0).failures == 1
    assert Fuse(tmp_path, "v2", 0).failures == 0
    first.started()
    first._started -= fuse.STEADY_SECONDS
    assert [first.failed(), first.failures] == [False, 1]


def test_a_count_that_was_cut_off_is_none(tmp_path: Path) -> None:
    (tmp_path / "failures.json").write_text('{"version": "v1", "fail')
    assert Fuse(tmp_path, "v1", 0).failures == 0


def test_pauses_grow_with_failures(tmp_path: Path) -> None:
    one = Fuse(tmp_path, "v1", 0)
    pauses = []
    for _ in range(fuse.FAILURES):
        pauses.append(one.pause)
        one.failed()
    assert pauses == [0.0, 0.0, 10.0, 20.0, 40.0, 60.0]
