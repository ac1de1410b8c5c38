"""The firewall's table and unit, whole; nft reads the table where it is installed.

Debian packages for the tests marked `tools`: nftables. They need root, for nft asks the kernel even with --check.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleets import example_fleet
from tests.tools import tool
from vllm_fleet.network.firewall import Rule, rules
from vllm_fleet.planner.placement import place
from vllm_fleet.render.firewall import table_file, unit_file

HOSTS = ["gpu1", "gpu2", "edge1"]


def table(host: str) -> str:
    fleet = example_fleet()
    return table_file(rules(fleet, place(fleet), fleet.host(host))).content


@pytest.mark.parametrize("host", HOSTS)
def test_table(host: str, golden: Callable[[str, str], None]) -> None:
    golden(f"firewall-{host}.nft", table(host))


def test_unit(golden: Callable[[str, str], None]) -> None:
    golden("vllm-fleet-firewall.service", unit_file().content)


def test_ipv6_sources_and_single_hosts() -> None:
    rule = Rule("metrics", ("10.0.0.1/32", "10.1.0.0/16", "fd00::1/128"), (9100,))
    assert [line.strip() for line in table_file([rule]).content.splitlines() if "metrics" in line] == [
        'ip saddr { 10.0.0.1, 10.1.0.0/16 } tcp dport 9100 accept comment "metrics"',
        'ip6 saddr fd00::1 tcp dport 9100 accept comment "metrics"',
    ]


@pytest.mark.tools
@pytest.mark.parametrize("host", HOSTS)
def test_nft_accepts_the_table(host: str, tmp_path: Path) -> None:
    path = tmp_path / "firewall.nft"
    path.write_text(table(host), encoding="utf-8")
    done = subprocess.run([tool("nft"), "--check", "--file", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
