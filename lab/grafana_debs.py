"""A stand-in for Grafana's package, with its name and paths: Grafana itself is in no archive that the lab can reach.

What it holds lies in `lab/grafana/`: a server that reads grafana.ini, its provisioning and dashboards as Grafana does,
and answers a few of its questions; it draws nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import flat_repository, stand_ins
from lab.stand_ins import UNITS, Package
from lab.topology import GRAFANA_APT_URL, Paths

SOURCES = Path(__file__).with_name("grafana")
# two releases, so that the pin has something to choose from
PACKAGE = Package(
    "grafana",
    ("12.4.0", "13.0.0"),
    needs=("adduser", "python3-yaml"),
    programs={"usr/share/grafana/bin/grafana": "grafana.py"},
    files={f"{UNITS}/grafana-server.service": "grafana-server.service"},
    postinst="postinst",
)


def for_hosts() -> dict[str, Any]:
    """What a host needs to install it."""
    return {"source": flat_repository.source(GRAFANA_APT_URL), "packages": [PACKAGE.name]}


def build(paths: Paths) -> None:
    """The repository, unless it is there and made of the same."""
    made_of = stand_ins.key(SOURCES, __file__)
    stand_ins.build(paths.grafana_debs, [PACKAGE], SOURCES, made_of, paths.logs / "grafana-debs.log", None)
