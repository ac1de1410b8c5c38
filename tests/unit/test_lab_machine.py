"""The lab on the machine: where Debian comes from, whose network it is, what roots are made of, state and mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import apt, base, docker_debs, flat_repository, machine, mirrors, network, shell, state, tools
from lab.errors import LabError
from lab.topology import RELEASES, Paths

TARGETS = """\
Debian|http://mirror.example/debian|bookworm|main
Debian|http://mirror.example/debian|bookworm-updates|main
Debian-Security|http://mirror.example/security|bookworm-security|main
Docker CE|http://docker.example|bookworm|stable
"""


def test_sources_of_another_release_come_from_the_machines_own_sites() -> None:
    signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert apt.sources(apt.parse_targets(TARGETS), "trixie") == [
        f"{signed} http://mirror.example/debian trixie main",
        f"{signed} http://mirror.example/debian trixie-updates main",
        f"{signed} http://mirror.example/security trixie-security main",
    ]


def test_a_machine_without_debian_sources_leaves_them_to_mmdebstrap() -> None:
    root = base.Root("r", "trixie", ("dbus",))
    assert apt.sources(apt.parse_targets("Ubuntu|http://x.example|noble|main\n"), "trixie") == []
    assert base.mmdebstrap_argv(root, Path("/target"), [], "") == [
        "mmdebstrap",
        "--variant=minbase",
        "--include=dbus",
        "--aptopt=APT::Install-Recommends false",
        '--customize-hook=rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap',
        "trixie",
        "/target",
    ]


def test_mmdebstrap_uses_the_machines_proxy() -> None:
    argv = base.mmdebstrap_argv(base.host_root("trixie"), Path("/target"), ["deb x"], "http://proxy.example:3128")
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3128"' in argv
    assert argv[-3:] == ["trixie", "/target", "deb x"]


def test_a_root_is_made_again_when_what_it_is_made_of_changes() -> None:
    one = base.Root("host", "trixie", ("dbus",))
    assert one.key == base.Root("host", "trixie", ("dbus",)).key
    assert one.key != base.Root("host", "trixie", ("dbus", "sudo")).key
    assert one.key != base.Root("host", "trixie", ("dbus",), customize_hook="true").key


@pytest.mark.parametrize("release", RELEASES)
def test_tools_are_unpacked_and_not_set_up(release: str) -> None:
    argv = base.mmdebstrap_argv(tools.root(release), Path("/target"), ["deb x"], "")
    assert argv[1] == "--variant=extract"
    assert argv[-3:] == [release, "/target", "deb x"]


def test_a_tool_starts_with_its_own_releases_files(tmp_path: Path) -> None:
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/nft").touch()
    assert tools.start_script(tmp_path, "nft").splitlines() == [
        "#!/bin/sh",
        f'exec unshare --mount sh -c \'mount --bind {tmp_path}/usr /usr && exec /usr/sbin/nft "$@"\' nft "$@"',
    ]
    with pytest.raises(LabError, match="0 programs amtool; remove it and run make tools again"):
        tools.start_script(tmp_path, "amtool")


def test_only_bookworm_hosts_need_a_newer_docker() -> None:
    assert docker_debs.for_release("trixie") is None
    assert docker_debs.for_release("bookworm") == {
        "source": "deb [trusted=yes] http://10.231.77.1:8081/docker/ ./",
        "packages": ["docker.io", "docker-cli"],
    }
    assert flat_repository.stanza("Package: docker.io\nVersion: 26\n\n", "d.deb", 7, "ab") == (
        "Package: docker.io\nVersion: 26\nFilename: ./d.deb\nSize: 7\nSHA256: ab\n"
    )


@pytest.mark.parametrize(
    "addresses, routes, taken",
    [
        ([], [{"dst": "default", "dev": "eth0"}], ""),
        ([{"ifname": "vfleet0", "addr_info": [{"local": "10.231.77.1"}]}], [], ""),
        ([{"ifname": "wg0", "addr_info": [{"local": "10.231.77.9"}]}], [], "wg0"),
        ([], [{"dst": "10.0.0.0/8", "dev": "tun0"}], "tun0"),
    ],
)
def test_a_subnet_in_use_is_noticed(addresses: list[dict], routes: list[dict], taken: str) -> None:
    assert network.conflict(addresses, routes) == taken


def test_a_mirror_runs_read_only_and_shares_the_network() -> None:
    assert mirrors.run_inside(Path("/root"), {Path("/data"): "/mnt"}, ["true"]) == [
        "systemd-nspawn",
        "--quiet",
        "--directory=/root",
        "--read-only",
        "--as-pid2",
        "--console=pipe",
        "--register=no",
        "--keep-unit",
        "--resolv-conf=bind-host",
        "--timezone=off",
        "--bind=/data:/mnt",
        "true",
    ]


def test_mirrors_listen_on_the_bridge_only() -> None:
    assert "BindAddress: 10.231.77.1\n" in mirrors.apt_cache_config("")
    assert "Proxy: http://proxy.example:3128\n" in mirrors.apt_cache_config("http://proxy.example:3128")
    assert "  addr: 10.231.77.1:5000\n" in mirrors.registry_config()


def test_no_state_means_no_lab(tmp_path: Path) -> None:
    assert state.read(Paths(tmp_path)) is None


def test_off_linux_or_without_root_one_line_and_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(LabError, match="needs Linux") as refused:
        machine.check("trixie")
    assert refused.value.exit_code == 2
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="needs root") as refused:
        machine.check("trixie")
    assert refused.value.exit_code == 2


def test_an_unknown_release_names_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(LabError, match="trixie or bookworm"):
        machine.check("sid")


def test_a_failed_program_is_one_line_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with pytest.raises(LabError, match=r"^making it failed \(exit 3\); do this; log: ") as failed:
        shell.logged(["sh", "-c", "echo why; exit 3"], log, "making it", mend="do this")
    assert failed.value.detail.splitlines()[-1] == "why"
