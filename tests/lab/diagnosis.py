"""What `fleet doctor` says of the lab."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLEET = Path(sys.executable).parent / "fleet"


def findings() -> set[str]:
    """Severity and path of each finding, but for the clock's: the lab's machine has no time server."""
    ran = subprocess.run(
        [FLEET, "doctor", "inventories/lab.py", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    said = json.loads(ran.stdout)
    assert ran.returncode == (0 if said["ok"] else 1)
    return {
        f"{each['severity']} {each['path']}"
        for host in said["hosts"].values()
        for each in host["findings"]
        if not each["path"].endswith(".clock")
    }
