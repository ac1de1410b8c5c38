"""lab/nvidia_debs.py: the stand-ins' packages are whole, and hosts can install them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import mirrors, nvidia_debs, stand_ins
from lab.topology import Paths
from tests.unit.simulated_nvml import DRIVER, OTHER_DRIVER

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("dpkg-deb")), reason="the lab installs gcc and dpkg-deb where they miss"
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    made = Paths(tmp_path_factory.mktemp("lab"))
    nvidia_debs.build(made)
    return made


def entries(paths: Paths) -> list[dict[str, str]]:
    """The repository's index."""
    paragraphs = (paths.nvidia_debs / "Packages").read_text().strip().split("\n\n")
    return [dict(line.split(": ", 1) for line in paragraph.splitlines()) for paragraph in paragraphs]


def test_a_control_file() -> None:
    (cuda,) = [package for package in nvidia_debs.PACKAGES if package.name == "nvidia-driver-cuda"]
    assert stand_ins.control(cuda, "580.159.04-1") == (
        "Package: nvidia-driver-cuda\n"
        "Version: 580.159.04-1\n"
        "Architecture: amd64\n"
        "Maintainer: vllm-fleet lab <lab@invalid>\n"
        "Depends: nvidia-kernel-open-dkms (= 580.159.04-1), libcuda1 (= 580.159.04-1), libnvidia-ml1 (= 580.159.04-1), "
        "nvidia-smi (= 580.159.04-1), nvidia-persistenced (= 580.159.04-1)\n"
        "Description: the lab's stand-in for nvidia-driver-cuda; nothing of the original is in it\n"
    )


def test_the_recorded_driver_is_one_of_the_two_branches() -> None:
    recorded = json.loads((Path(__file__).parent / "data" / "h200_nvml.json").read_text())
    assert recorded["driver"] == DRIVER
    assert DRIVER.split(".")[0] != OTHER_DRIVER.split(".")[0]


def test_the_index_has_every_package_in_every_version(paths: Paths) -> None:
    wanted = {(package.name, version) for package in nvidia_debs.PACKAGES for version in package.versions}
    found = entries(paths)
    assert {(entry["Package"], entry["Version"]) for entry in found} == wanted
    assert {entry["Filename"] for entry in found} == {f"./{deb.name}" for deb in paths.nvidia_debs.glob("*.deb")}
    assert len(found) == len(wanted)


def test_what_a_package_needs_is_there_at_its_version(paths: Paths) -> None:
    offered = {f"{entry['Package']} (= {entry['Version']})" for entry in entries(paths)}
    for entry in entries(paths):
        needed = set(filter(None, entry.get("Depends", "").split(", "))) - {"python3"}
        assert needed <= offered, entry["Package"]


def test_the_librarys_package_belongs_to_root_and_is_of_its_version(paths: Paths, tmp_path: Path) -> None:
    deb = paths.nvidia_debs / f"libnvidia-ml1_{OTHER_DRIVER}-1_amd64.deb"
    listing = subprocess.run(["dpkg-deb", "--contents", str(deb)], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listing.splitlines()} == {"root/root"}
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(tmp_path)], check=True)
    link = tmp_path / nvidia_debs.LIBRARIES / "libnvidia-ml.so.1"
    assert os.readlink(link) == f"libnvidia-ml.so.{OTHER_DRIVER}"
    version = ctypes.create_string_buffer(80)
    ctypes.CDLL(str(link)).nvmlSystemGetDriverVersion(version, ctypes.c_uint(80))
    assert version.value.decode() == OTHER_DRIVER


def test_no_placeholder_is_left_in_a_package(paths: Paths, tmp_path: Path) -> None:
    for deb in paths.nvidia_debs.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", str(deb), str(tmp_path / deb.name)], check=True)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 20
    assert [file for file in files if b"@VERSION@" in file.read_bytes()] == []


def test_every_file_of_the_folder_is_in_a_package() -> None:
    used = {file for package in nvidia_debs.PACKAGES for file in (*package.programs.values(), *package.files.values())}
    assert {file.name for file in nvidia_debs.SOURCES.iterdir() if file.is_file()} == {*used, "nvml.c"}


def test_it_is_built_again_when_a_file_changes(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (paths.nvidia_debs / "Packages").stat().st_mtime_ns
    nvidia_debs.build(paths)
    assert (paths.nvidia_debs / "Packages").stat().st_mtime_ns == before
    key = nvidia_debs.key()
    changed = shutil.copytree(nvidia_debs.SOURCES, tmp_path / "nvidia")
    with (changed / "h200").open("a") as values:
        values.write("name=another\n")
    monkeypatch.setattr(nvidia_debs, "SOURCES", changed)
    assert nvidia_debs.key() != key


def test_hosts_are_told_of_it_and_the_file_mirror_has_it(paths: Paths) -> None:
    told = nvidia_debs.for_hosts()
    assert told["source"] == "deb [trusted=yes] http://10.231.77.1:8081/nvidia/ ./"
    assert {"nvidia-driver-cuda", "nvidia-fabricmanager", "linux-headers-amd64"} <= set(told["packages"])
    mirrors.children(Path("/root"), paths)
    assert (paths.files / "nvidia" / "Packages").is_file()
