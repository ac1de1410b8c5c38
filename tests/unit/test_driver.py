"""What a host has of its declared driver, and what it lacks; each script is one that a shell takes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest

from vllm_fleet.driver import Driver, Found, Needs, scripts
from vllm_fleet.driver.found import LOADED, Package, found
from vllm_fleet.driver.scripts import fetch, generate_cdi, hold, note, put_in
from vllm_fleet.schema import AptRepository, ConfigError, Host, Versions
from vllm_fleet.tree import state

MIRROR = AptRepository(line="deb [trusted=yes] http://mirror.example ./", packages=["dkms"])
UNITS = ("nvidia-persistenced.service", "nvidia-fabricmanager.service")


def driver(**versions: Any) -> Driver:
    host = Host(name="gpu-1", address="10.0.0.1", groups=("gpu",), gpus=8, gpu="h100-sxm")
    return Driver(Versions(nvidia_packages=[MIRROR], **versions), host)


def host_with(version: str = "580.159.04-1", **more: str) -> list[str]:
    """What a host says where all is as declared, with packages of this version. `more` replaces versions by name."""
    names = ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced", "nvidia-fabricmanager", "libcuda1")
    packages = dict.fromkeys(names, version) | {name.replace("_", "-"): each for name, each in more.items()}
    files = driver().files("debian13", "amd64").entries
    return [
        "distribution\tdebian13",
        "architecture\tamd64",
        "module\t580.159.04",
        *(f"package\tinstalled\thold\t{name}\t{each}" for name, each in packages.items() if each),
        "package\tinstalled\tinstall\tlinux-headers-amd64\t6.12.48-1",
        "package\tinstalled\tinstall\tnvidia-container-toolkit-base\t1.18.0-1",
        "package\tconfig-files\tdeinstall\tnvidia-old\t535.183.01-1",
        "cdi\t580.159.04 1.18.0-1",
        *(f"entry\tf\t644\troot\troot\t\t{file.path}" for file in files),
        *(f"sum\t{state(file).split()[-1]}  {file.path}" for file in files),
        *(
            f"unit\t{line}"
            for unit in UNITS
            for line in (f"Id={unit}", "ActiveState=active", "UnitFileState=enabled", "")
        ),
    ]


def test_a_host_that_lacks_nothing() -> None:
    now = found(host_with())
    assert now.module == "580.159.04"
    assert now.packages["libcuda1"] == Package("580.159.04-1", held=True)
    assert "nvidia-old" not in now.packages
    assert driver().needs(now) == Needs()
    assert driver(nvidia_driver_version="580.159.04").needs(now).files.entries  # its pins are others
    assert not driver().needs(now)


def test_a_bare_host() -> None:
    now = found(["distribution\tdebian13", "architecture\tamd64"])
    needs = driver().needs(now)
    assert needs.driver == ("nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced",
                            "nvidia-fabricmanager")  # fmt: skip
    assert needs.others == ("linux-headers-amd64", "nvidia-container-toolkit-base")
    assert (needs.module, needs.cdi, needs.disruptive, needs.hold) == (True, True, True, ())


@pytest.mark.parametrize(
    "lines, declared, installs",
    [
        (host_with("1:580.159.04-0ubuntu1"), {}, False),
        (host_with(), {"nvidia_driver": 595}, True),
        (host_with(), {"nvidia_driver_version": "580.173.02"}, True),
        (host_with(nvidia_fabricmanager="580.95.05-1"), {}, True),
        (host_with(nvidia_persistenced=""), {}, True),
        (host_with("5800.1-1"), {}, True),
    ],
)
def test_packages_must_be_of_one_version_that_is_wanted(
    lines: list[str], declared: dict[str, Any], installs: bool
) -> None:
    assert bool(driver(**declared).needs(found(lines)).driver) is installs


def changed(**values: Any) -> Needs:
    return driver().needs(replace(found(host_with()), **values))


def test_what_disturbs_engines_and_what_does_not() -> None:
    assert changed(module="580.95.05").disruptive
    assert changed(module=None).disruptive
    assert changed(drained=("edge chat/gpu-1",)).disruptive
    assert changed(cdi="580.95.05 1.18.0-1") == Needs(cdi=True)
    assert changed(cdi="580.159.04 1.17.8-1") == Needs(cdi=True)
    free = {**found(host_with()).packages, "libcuda1": Package("580.159.04-1", held=False)}
    assert changed(packages=free) == Needs(hold=("libcuda1",))
    assert not Needs(cdi=True, hold=("libcuda1",)).disruptive


def test_an_unknown_distribution_is_an_error_with_its_mend() -> None:
    with pytest.raises(ConfigError, match="gpu-1: runs fedora42, and the names"):
        driver().needs(Found(distribution="fedora42"))


@pytest.mark.parametrize(
    "text",
    [
        driver().look,
        fetch("gpu-1", ["nvidia-driver-cuda"], "nvidia-driver-cuda", "580.*"),
        put_in(["nvidia-driver-cuda", "it's none"]),
        hold("580.159.04-*"),
        generate_cdi("580.159.04 1.18.0-1"),
        note(["edge chat/gpu-1"]),
        note([]),
        scripts.LOAD,
        scripts.REBOOT,
    ],
)
def test_a_shell_takes_each_script(text: str) -> None:
    assert subprocess.run(["sh", "-n", "-c", text], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["Open Kernel Module for x86_64", "x86_64 Kernel Module"])
def test_the_loaded_module_is_read(kind: str, tmp_path: Any) -> None:
    version = tmp_path / "version"
    version.write_text(
        f"NVRM version: NVIDIA UNIX {kind}  580.159.04  Release Build  (builder@U22-I3)\nGCC version: 12\n"
    )
    command = LOADED.replace("/proc/driver/nvidia/version", str(version))
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == "580.159.04\n"
