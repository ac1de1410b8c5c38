"""What a deploy with nothing to do costs: commands are counted, for seconds depend on the machine."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]


def test_nothing_to_do_is_one_command_a_host(lab):
    ran = subprocess.run(
        [sys.executable, "-m", "pyinfra", "-y", "-vvv", "inventories/lab.py", "deploy.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0
    totals = re.search(r"Grand total +(\d+) +- +- +(\d+)", said)
    assert totals
    assert totals[1] == totals[2], "every operation has nothing to do"
    commands = Counter(re.findall(r"^\s*\[(\S+)\] +>>> sudo ", said, re.MULTILINE))
    assert commands == {"gpu-1": 1, "gpu-2": 1, "ops-1": 1}
