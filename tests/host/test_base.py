"""Every host: time, journal, user and limits."""

from __future__ import annotations

from tests.host.machine import Machine
from vllm_fleet import paths
from vllm_fleet.render import base


def test_time_is_synchronised(machine: Machine) -> None:
    service = machine.shell.service("chrony")
    assert service.is_running
    assert service.is_enabled


def test_the_journal_is_bounded(machine: Machine) -> None:
    bound = next(line for line in base.JOURNAL.content.splitlines() if line.startswith("SystemMaxUse="))
    effective = machine.run("systemd-analyze cat-config systemd/journald.conf").splitlines()
    assert [line for line in effective if line.startswith("SystemMaxUse=")][-1] == bound
    # a file that journald has not read bounds nothing
    placed, started = machine.run(
        f"stat -c %Y {base.JOURNAL.path}; "
        'date +%s -d "$(systemctl show -P ExecMainStartTimestamp systemd-journald.service)"'
    ).split()
    assert int(started) >= int(placed)


def test_engines_have_a_user_that_cannot_log_in(machine: Machine) -> None:
    user = machine.shell.user(paths.SERVICE_USER)
    assert user.uid == paths.SERVICE_UID
    assert user.shell == "/usr/sbin/nologin"
    assert user.groups == [paths.SERVICE_USER]


def test_the_kernel_takes_vllms_listen_backlog(machine: Machine) -> None:
    assert int(machine.run("cat /proc/sys/net/core/somaxconn")) >= 2048
