"""payload/group: members on loopback addresses with small programs as engines, all in one event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.unit.readiness import COMPLETION, KEY, Api
from vllm_fleet import paths
from vllm_fleet.payload.group import follower, fuse, link, member, pulse
from vllm_fleet.payload.group.config import Group, Member, load
from vllm_fleet.payload.group.ending import FAILED, GAVE_UP, STOPPED, Ending
from vllm_fleet.payload.group.engine import Engine
from vllm_fleet.payload.group.follower import Follower
from vllm_fleet.payload.group.fuse import Fuse
from vllm_fleet.payload.group.leader import Leader
from vllm_fleet.payload.group.pulse import Pulse
from vllm_fleet.roles.engine import programs

SECONDS = 20.0
"""Bounds every test; each takes about one."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(link, "SILENCE_SECONDS", 0.8)
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(fuse, "PAUSES", (0.0,))
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Hosts:
    """Members of one group: each with its start program, its runtime directory and what its engines wrote."""

    def __init__(self, directory: Path, count: int) -> None:
        # where nobody answers, unless a test does
        self.directory, self.port, self.api = directory, free_port(), free_port()
        (directory / "secret.yaml").write_text(f"api-key: {KEY}\n", encoding="utf-8")
        self.members = tuple(Member(f"gpu-{n}", f"127.0.0.{n}") for n in range(1, count + 1))
        for rank in range(count):
            self.script(rank, "exec sleep 60")

    def script(self, rank: int, command: str) -> None:
        """What this rank's engine is; it notes that it was started, and is gone when it ends."""
        start = self.directory / f"start-{rank}"
        start.write_text(f"#!/bin/sh\necho {rank} $$ >> {self.directory}/started\n{command}\n", encoding="utf-8")
        start.chmod(0o755)

    def group(self, rank: int, **changes: Any) -> Group:
        values: dict[str, Any] = {
            "rank": rank,
            "members": self.members,
            "port": self.port,
            "version": "v1",
            "drain": (),
            "patience_seconds": 1,
            "start_seconds": 30,
            "start": str(self.directory / f"start-{rank}"),
            "url": f"http://127.0.0.1:{self.api}",
            "model_name": "tiny",
            "directory": self.directory,
        }
        return Group(**values | changes)

    def leader(self, **changes: Any) -> Leader:
        group = self.group(0, **changes)
        fuse = Fuse(self.directory, group.version, group.start_seconds)
        pulse = Pulse(group.url, group.model_name, group.directory)
        return Leader(group, Engine(group.start, group.drain), fuse, pulse)

    def follower(self, rank: int = 1, **changes: Any) -> Follower:
        group = self.group(rank, **changes)
        return Follower(group, Engine(group.start, group.drain))

    def started(self) -> list[tuple[int, int]]:
        """(rank, process) of every engine that was started, in order."""
        file = self.directory / "started"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    async def until_started(self, *ranks: int) -> None:
        while not {rank for rank, _ in self.started()} >= set(ranks):
            await asyncio.sleep(0.02)  # programs of their own; `run` bounds the test


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path, 2)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, SECONDS))


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def all_gone(hosts: Hosts) -> bool:
    end = time.monotonic() + 5
    while not all(gone(process) for _, process in hosts.started()):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)  # a killed process ends soon; bounded above
    return True


# ---- starting -------------------------------------------------------------------------------------------------------


def test_no_engine_starts_before_all_members_are_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = Hosts(tmp_path, 3)

    async def main() -> tuple[Ending, ...]:
        parts = [hosts.leader(), hosts.follower(1)]
        running = [asyncio.create_task(part.run()) for part in parts]
        await asyncio.sleep(0.5)  # in which a leader that did not wait would have started it
        assert hosts.started() == []
        late = hosts.follower(2)
        running.append(asyncio.create_task(late.run()))
        await hosts.until_started(0, 1, 2)
        parts[0].leave()
        return tuple(await asyncio.gather(*running))

    endings = run(main())
    assert [ending.status for ending in endings] == [STOPPED, STOPPED, STOPPED]
    assert hosts.started()[0][0] == 0
    assert "group: waiting for rank 2 (gpu-3)\n" in capsys.readouterr().out
    assert all_gone(hosts)


def test_a_follower_waits_for_its_leader(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> tuple[Ending, Ending]:
        second = hosts.follower()
        following = asyncio.create_task(second.run())
        await asyncio.sleep(0.3)  # so long the one waits while the other is away, or drains
        first = hosts.leader()
        leading = asyncio.create_task(first.run())
        await hosts.until_started(0, 1)
        first.leave()
        return await leading, await following

    run(main())
    said = capsys.readouterr().out
    assert said.count("group: waiting for rank 0 (gpu-1): ") == 1


# ---- one unit of failure -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dying", "why"),
    [
        (0, "rank 0 (gpu-1): its engine ended with status 3"),
        (1, "rank 1 (gpu-2): its engine ended with status 3"),
    ],
)
def test_one_engine_that_ends_ends_all(hosts: Hosts, dying: int, why: str) -> None:
    hosts.script(dying, "sleep 0.3; exit 3")

    async def main() -> tuple[Ending, Ending]:
        return tuple(await asyncio.gather(hosts.leader().run(), hosts.follower().run()))

    assert run(main()) == (Ending(FAILED, why), Ending(FAILED, why))
    assert all_gone(hosts)


def test_an_end_with_status_0_is_a_failure_too(hosts: Hosts) -> None:
    """vLLM ends so when its engine process was killed."""
    hosts.script(1, "exit 0")

    async def main() -> tuple[Ending, Ending]:
        return tuple(await asyncio.gather(hosts.leader().run(), hosts.follower().run()))

    assert run(main())[0] == Ending(FAILED, "rank 1 (gpu-2): its engine ended with status 0")


def test_an_engine_that_was_killed_is_named_with_its_signal(hosts: Hosts) -> None:
    async def main() -> tuple[Ending, Ending]:
        running = asyncio.gather(hosts.leader().run(), hosts.follower().run())
        await hosts.until_started(0, 1)
        os.kill(dict(hosts.started())[1], signal.SIGKILL)
        return tuple(await running)

    assert run(main())[1] == Ending(FAILED, "rank 1 (gpu-2): its engine was killed by signal 9")


def test_what_an_engine_left_behind_is_killed_with_it(hosts: Hosts) -> None:
    """As EngineCore and workers live on when the API server was killed."""
    hosts.script(0, f"sh -c 'echo 9 $$ >> {hosts.directory}/started; exec sleep 60' & sleep 0.3; exit 1")

    async def main() -> None:
        await asyncio.gather(hosts.leader().run(), hosts.follower().run())

    run(main())
    assert {rank for rank, _ in hosts.started()} == {0, 1, 9}
    assert all_gone(hosts)


def test_a_program_that_is_missing_is_an_end(hosts: Hosts) -> None:
    async def main() -> tuple[Ending, Ending]:
        return tuple(await asyncio.gather(hosts.leader().run(), hosts.follower(start="/nowhere/start").run()))

    leader, _ = run(main())
    assert leader.why.startswith("rank 1 (gpu-2): its engine does not start: ")


def test_a_replica_that_answers_no_more_ends_all(hosts: Hosts, api: str) -> None:
    """Its processes live, and wait for each other for ever."""
    hosts.api = int(api.rpartition(":")[2])
    Api.routes = {"/v1/completions": (200, COMPLETION), "/metrics": (200, "vllm:iteration_tokens_total_count 1\n")}

    async def main() -> tuple[Ending, Ending]:
        running = asyncio.gather(hosts.leader().run(), hosts.follower().run())
        while not Api.asked:
            await asyncio.sleep(0.02)  # until it answered for the first time; `run` bounds the test
        Api.routes["/v1/completions"] = (200, None)
        return tuple(await running)  # type: ignore[return-value]

    leader, second = run(main())
    assert leader.why.startswith("rank 0 (gpu-1): it answered nothing and took no step for ")
    assert second == leader
    assert all_gone(hosts)


async def silent(hosts: Hosts, rank: int) -> asyncio.StreamReader:
    """A member that joins and then says nothing more, as a host that lost its network."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hosts.port, local_addr=(f"127.0.0.{rank + 1}", 0))
    writer.write(json.dumps({"rank": rank, "version": "v1"}).encode() + b"\n")
    reader.writer = writer  # type: ignore[attr-defined]  # else the connection closes when it is collected
    return reader


def test_a_member_that_falls_silent_ends_all(hosts: Hosts) -> None:
    async def main() -> Ending:
        leading = asyncio.create_task(hosts.leader().run())
        await asyncio.sleep(0.2)  # until the part before has taken its place; a failure if it has not
        reader = await silent(hosts, 1)
        ending = await leading
        assert b'"start"' in await reader.read()
        return ending

    assert run(main()) == Ending(FAILED, "rank 1 (gpu-2): silent for 0.8 s")


def test_a_leader_that_falls_silent_ends_its_followers(hosts: Hosts) -> None:
    async def main() -> Ending:
        async def start_and_hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'{"start": true}\n')
            await asyncio.sleep(SECONDS)  # silence; the test ends it

        async with await asyncio.start_server(start_and_hang, "127.0.0.1", hosts.port) as server:
            ending = await hosts.follower().run()
            server.close()
        return ending

    assert run(main()) == Ending(FAILED, "rank 0 (gpu-1): silent for 0.8 s")
    assert all_gone(hosts)


def test_a_member_that_starts_again_ends_all(hosts: Hosts) -> None:
    """Its engine is gone, even when its first connection still seems alive."""

    async def main() -> Ending:
        leading = asyncio.create_task(hosts.leader().run())
        await asyncio.sleep(0.2)  # until the part before has taken its place; a failure if it has not
        first = await silent(hosts, 1)
        await hosts.until_started(0)
        second = await silent(hosts, 1)
        ending = await leading
        assert b'"stop"' in await second.read()
        del first
        return ending

    assert run(main()) == Ending(FAILED, "rank 1 (gpu-2): it has started again")


# ---- a stop that was asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [0, 1])
def test_a_stop_lets_the_leader_drain_while_the_others_still_work(hosts: Hosts, asked: int) -> None:
    hosts.script(
        0, f"trap 'sleep 0.5; date +%s%N > {hosts.directory}/drained; exit 0' INT; while :; do sleep 0.05; done"
    )

    async def main() -> tuple[Ending, ...]:
        parts = [hosts.leader(), hosts.follower()]
        running = asyncio.gather(*(part.run() for part in parts))
        await hosts.until_started(0, 1)
        await asyncio.sleep(0.2)  # until the part before has taken its place; a failure if it has not
        parts[asked].leave()
        await asyncio.sleep(0.3)  # so long the one waits while the other is away, or drains
        assert not gone(dict(hosts.started())[1])
        return tuple(await running)

    stopped = Ending(STOPPED, "its unit was stopped")
    assert run(main()) == (stopped, stopped)
    assert (hosts.directory / "drained").exists()
    assert all_gone(hosts)


def test_a_container_is_drained_by_its_own_command(hosts: Hosts) -> None:
    async def main() -> tuple[Ending, Ending]:
        first = hosts.leader(drain=("sh", "-c", f"kill -KILL $(awk '$1==0 {{print $2}}' {hosts.directory}/started)"))
        running = asyncio.gather(first.run(), hosts.follower().run())
        await hosts.until_started(0, 1)
        first.leave()
        return await running

    assert run(main())[0].status == STOPPED


@pytest.mark.parametrize("make", [Hosts.leader, Hosts.follower])
def test_a_stop_before_the_start_is_at_once(hosts: Hosts, make: Callable[[Hosts], Leader | Follower]) -> None:
    async def main() -> Ending:
        part = make(hosts)
        running = asyncio.create_task(part.run())
        await asyncio.sleep(0.1)  # until it listens or asks; a failure if it does not
        part.leave()
        return await running

    assert run(main()) == Ending(STOPPED, "its unit was stopped")
    assert hosts.started() == []


# ---- who may take part ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patient", "why"),
    [
        (0, "rank 0 (gpu-1) has run another release for 1 s"),
        (1, "rank 1 (gpu-2) has run another release for 1 s"),
    ],
)
def test_another_release_is_waited_for_a_while(
    hosts: Hosts, patient: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deploy that restarts one member earlier than another passes; one that went back on one member does not."""

    async def main() -> Ending:
        patience = [{"patience_seconds": 60 if rank == patient else 1} for rank in (0, 1)]
        parts = [hosts.leader(**patience[0]), hosts.follower(version="v2", **patience[1])]
        running = [asyncio.create_task(part.run()) for part in parts]
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        parts[patient].leave()
        await asyncio.gather(*running)
        return done.pop().result()

    assert run(main()) == Ending(FAILED, why)
    assert hosts.started() == []
    assert "group: waiting for rank 0 (gpu-1): which runs another release\n" in capsys.readouterr().out


def test_who_is_no_member_is_turned_away(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> bytes:
        first = hosts.leader()
        leading = asyncio.create_task(first.run())
        await asyncio.sleep(0.1)  # until it listens or asks; a failure if it does not
        reader, writer = await asyncio.open_connection("127.0.0.1", hosts.port, local_addr=("127.0.0.9", 0))
        writer.write(b'{"rank": 1, "version": "v1"}\n')
        heard = await reader.read()
        assert not leading.done()
        first.leave()
        await leading
        return heard

    assert b"start" not in run(main())
    assert "group: 127.0.0.9 is no member; " in capsys.readouterr().out


@pytest.mark.parametrize("word", [b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"rank": "1"}\n', b"x" * 10_000])
def test_nonsense_on_the_port_changes_nothing(hosts: Hosts, word: bytes) -> None:
    async def main() -> bool:
        first = hosts.leader()
        leading = asyncio.create_task(first.run())
        await asyncio.sleep(0.1)  # until it listens or asks; a failure if it does not
        reader, writer = await asyncio.open_connection("127.0.0.1", hosts.port, local_addr=("127.0.0.2", 0))
        writer.write(word)
        await reader.read()
        going_on = not leading.done()
        first.leave()
        await leading
        return going_on

    assert run(main())


# ---- failures in a row ----------------------------------------------------------------------------------------------


def test_too_many_failures_in_a_row_end_in_giving_up_on_all_members(hosts: Hosts) -> None:
    hosts.script(1, "exit 7")

    async def main() -> list[tuple[Ending, Ending]]:
        return [tuple(await asyncio.gather(hosts.leader().run(), hosts.follower().run())) for _ in range(6)]  # type: ignore[misc]

    endings = run(main())
    assert [first.status for first, _ in endings] == [FAILED] * 5 + [GAVE_UP]
    assert [second.status for _, second in endings] == [FAILED] * 5 + [GAVE_UP]
    assert endings[-1][1].why == (
        "gave up after 6 failures in a row, the last of rank 1 (gpu-2): its engine ended with status 7; mend its cause "
        "and deploy again, or start the unit on all members"
    )


def test_the_leader_waits_out_its_pause(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "PAUSES", (1.0,))

    async def main() -> None:
        first = hosts.leader()
        running = asyncio.gather(first.run(), hosts.follower().run())
        await asyncio.sleep(0.6)  # less than the pause, in which nothing may start
        assert hosts.started() == []
        await hosts.until_started(0, 1)
        first.leave()
        await running

    run(main())


# ---- the program ---------------------------------------------------------------------------------------------------


def write_release(directory: Path, group: Group) -> None:
    release = directory / "pair" / "releases" / "r1"
    release.mkdir(parents=True)
    (directory / "pair" / "current").symlink_to("releases/r1")
    content = {
        "rank": group.rank,
        "start_seconds": group.start_seconds,
        "url": group.url,
        "model_name": group.model_name,
        "group": {
            "members": [dataclasses.asdict(each) for each in group.members],
            "port": group.port,
            "version": group.version,
            "drain": list(group.drain),
            "patience_seconds": group.patience_seconds,
        },
    }
    (release / "engine.json").write_text(json.dumps(content), encoding="utf-8")
    (release / "start").write_text(Path(group.start).read_text(), encoding="utf-8")
    (release / "start").chmod(0o755)
    (directory / "pair" / "secret.yaml").write_text(f"api-key: {KEY}\n", encoding="utf-8")


def test_the_group_is_read_from_the_current_release(hosts: Hosts, tmp_path: Path) -> None:
    write_release(tmp_path, hosts.group(1))
    start = tmp_path / "pair" / "releases" / "r1" / "start"
    expected = hosts.group(1, start=str(start), directory=tmp_path / "pair")
    assert load("pair", tmp_path) == expected


def test_files_that_are_missing_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(member, "ENGINES", tmp_path)
    assert member.main(["absent"]) == FAILED
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("group: FileNotFoundError: ")
    assert line.endswith("; deploy the engine again")


def test_the_program_runs_from_the_files_that_a_deploy_installs(hosts: Hosts, tmp_path: Path) -> None:
    """Two processes as two units start them, with the standard library alone; SIGINT to one stops both."""
    for file in programs():
        path = tmp_path / file.path.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content, encoding="utf-8")
    installed = f"{tmp_path}{paths.PROGRAMS}"
    config = Path(f"{installed}/group/config.py")
    hosts.script(0, f"echo python path: [$PYTHONPATH] > {tmp_path}/environment; exec sleep 60")
    processes = []
    for rank in (0, 1):
        engines = tmp_path / f"host-{rank}"
        write_release(engines, hosts.group(rank))
        runtime = tmp_path / f"runtime-{rank}"
        runtime.mkdir()
        program = tmp_path / f"installed-{rank}"
        subprocess.run(["cp", "-r", installed, program], check=True)
        mine = program / "group" / "config.py"
        mine.write_text(config.read_text().replace("/etc/vllm-fleet/engines", str(engines)), encoding="utf-8")
        command = paths.GROUP_COMMAND.replace(paths.PROGRAMS, str(program)).replace("python3", f"{sys.executable} -S")
        processes.append(
            subprocess.Popen(
                [*command.split(), "pair"],
                env={**os.environ, "RUNTIME_DIRECTORY": str(runtime)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    run(hosts.until_started(0, 1))
    processes[0].send_signal(signal.SIGINT)
    said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [STOPPED, STOPPED]
    assert said[0].splitlines()[-2:] == ["group: rank 0 (gpu-1) is to stop; draining", "group: its unit was stopped"]
    assert (tmp_path / "environment").read_text() == "python path: []\n"
    assert all_gone(hosts)
    assert not list(tmp_path.rglob("__pycache__"))
