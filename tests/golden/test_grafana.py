"""Grafana's package source, settings and provisioning, whole.

Debian package for the test marked `tools`: apt.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.fleets import GRAFANA, example_fleet
from vllm_fleet.observe.grafana import NAMES
from vllm_fleet.render import grafana as render
from vllm_fleet.render.files import File
from vllm_fleet.schema import Fleet, Host, Monitoring


def fleet() -> Fleet:
    return example_fleet(monitoring=Monitoring(grafana=GRAFANA, scrape_interval="15s"))


def files() -> list[File]:
    here = fleet()
    return [*render.package_files(GRAFANA), *render.start_files(here, GRAFANA, here.host("edge1"))]


def test_files(golden: Callable[[str, str], None]) -> None:
    golden("grafana.txt", "\n".join(f"==> {each.path} {each.mode} {each.group}\n{each.content}" for each in files()))


def test_the_password_stands_in_a_file_of_its_own_that_no_diff_shows() -> None:
    file = render.password_file("s3cret")
    assert (file.mode, file.owner, file.group, file.secret) == ("0640", "root", "grafana", True)
    assert file.data == b"s3cret\n"
    assert not any(b"s3cret" in each.data for each in files())


def test_the_dashboards_are_those_of_the_project() -> None:
    placed = {Path(file.path).name: file.content for file in render.dashboard_files()}
    folder = Path(__file__).parents[2] / "grafana"
    assert placed == {f"{name}.json": (folder / f"{name}.json").read_text(encoding="utf-8") for name in NAMES}


def test_an_ipv6_host() -> None:
    host = Host(name="edge1", address="fd00::1", groups=("gateway", "monitoring"))
    settings, source, *_ = render.start_files(fleet(), GRAFANA, host)
    assert "http_addr = fd00::1\n" in str(settings.content)
    assert yaml.safe_load(str(source.content))["datasources"][0]["url"] == "http://[fd00::1]:9090"


@pytest.mark.tools
@pytest.mark.parametrize("release, chosen", [("12", "12.4.1"), ("11.6", "11.6.3"), ("13", "13.0.0")])
def test_apt_stays_in_the_release(release: str, chosen: str, tmp_path: Path) -> None:
    """The real apt chooses among these by our pins; they come from a file here, so from no origin that pins name."""
    versions = ["11.5.9", "11.6.3", "12.0.2", "12.4.1", "13.0.0", "120.0.0"]
    stanza = "Package: grafana\nVersion: {}\nArchitecture: amd64\nFilename: ./g.deb\nSize: 1\nSHA256: {}\n"
    index = tmp_path / "repository"
    index.mkdir()
    (index / "Packages").write_text("\n".join(stanza.format(version, "0" * 64) for version in versions))
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes arch=amd64] file:{index} ./\n")
    grafana = GRAFANA.model_copy(update={"release": release})
    (tmp_path / "preferences").write_text(str(render.package_files(grafana)[-1].content))
    (tmp_path / "status").touch()
    for folder in ("lists/partial", "cache/archives/partial", "parts"):
        (tmp_path / folder).mkdir(parents=True)
    places = {
        "Dir::Etc::SourceList": "sources.list", "Dir::Etc::SourceParts": "parts",
        "Dir::Etc::Preferences": "preferences", "Dir::Etc::PreferencesParts": "parts",
        "Dir::State::Lists": "lists", "Dir::State::Status": "status", "Dir::Cache": "cache",
    }  # fmt: skip
    options = [*(f"-o{key}={tmp_path / place}" for key, place in places.items()), "-oAPT::Architecture=amd64"]
    subprocess.run(["apt-get", *options, "update"], capture_output=True, check=True)
    said = subprocess.run(["apt-cache", *options, "policy", "grafana"], capture_output=True, text=True, check=True)
    assert f"Candidate: {chosen}\n" in said.stdout
