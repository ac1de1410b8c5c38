"""A deploy of something that cannot run fails, says why, and leaves the last good release serving."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]


@pytest.fixture
def spoiled(tmp_path):
    """The project with one wrong option for the service `batch`."""
    for name in ("vllm_fleet", "templates", "lab", ".lab", "config.py", "deploy.py", "inventories"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "group_data").mkdir()
    text = (ROOT / "group_data" / "lab.py").read_text()
    changed = text.replace("port=8100,", 'port=8100, quantization="no-such-method",')
    assert changed != text
    (tmp_path / "group_data" / "lab.py").write_text(changed)
    (tmp_path / "group_data" / "all.py").symlink_to(ROOT / "group_data" / "all.py")
    return tmp_path


def test_a_failed_deploy_leaves_the_last_good_release_serving(lab, spoiled):
    links = "readlink /etc/vllm-fleet/engines/batch/current"
    before = lab.ssh("gpu-2", links)
    ran = subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", "--limit", "gpu-2", "inventories/lab.py", "deploy.py"],
        cwd=spoiled,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ran.returncode == 1
    said = ran.stdout + ran.stderr
    assert "batch: not ready: " in said
    assert "no-such-method" in said
    assert "batch: rolled back to release" in said
    assert "Traceback (most recent call last)" not in said
    assert lab.ssh("gpu-2", links) == before
    assert lab.complete("tiny-llama-batch").status_code == 200
