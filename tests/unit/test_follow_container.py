"""payload/follow-container: the real script, with a `docker` that answers what a test wrote for it.

The texts are Docker's own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "vllm_fleet" / "payload" / "follow-container"

# Notes each call, then gives the next line of the call's own file, `CODE TEXT`: out of answers, the container is gone.
DOCKER = """\
#!/bin/sh
echo "docker $*" >>"$ANSWERS/calls"
case $1 in container) file=$ANSWERS/inspect ;; *) file=$ANSWERS/$1 ;; esac
answer=$(sed -n 1p "$file" 2>/dev/null); [ "$answer" ] && sed -i 1d "$file"
answer=${answer:-1 Error response from daemon: No such container: out of answers}
if [ "${answer%% *}" = 0 ]; then echo "${answer#* }"; else echo "${answer#* }" >&2; fi
exit "${answer%% *}"
"""
SLEEP = """\
#!/bin/sh
echo "sleep $*" >>"$ANSWERS/calls"
"""
AWAY = "1 Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
GONE = "1 Error response from daemon: No such container: vllm-chat"

START = "docker start --attach vllm-chat"
INSPECT = "docker container inspect --format {{.State.Status}} {{.State.ExitCode}} vllm-chat"
ATTACH = "docker attach --no-stdin --sig-proxy=false vllm-chat"


class Docker:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, script in (("docker", DOCKER), ("sleep", SLEEP)):
            (directory / name).write_text(script)
            (directory / name).chmod(0o755)

    def follow(self, **answers: list[str]) -> subprocess.CompletedProcess[str]:
        for call, lines in answers.items():
            (self.directory / call).write_text("".join(f"{line}\n" for line in lines))
        return subprocess.run(
            ["sh", PROGRAM, "vllm-chat"],
            env={"PATH": f"{self.directory}:{os.environ['PATH']}", "ANSWERS": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


@pytest.mark.parametrize("code", [0, 3, 137])
def test_it_ends_with_the_containers_code(docker: Docker, code: int) -> None:
    ran = docker.follow(start=[f"{code} the engine's output"], inspect=[f"0 exited {code}"])
    assert ran.returncode == code
    assert ran.stdout + ran.stderr == "the engine's output\n"
    assert docker.calls == [START, INSPECT]


def test_a_container_that_does_not_start_ends_with_dockers_code(docker: Docker) -> None:
    refused = 'Error response from daemon: could not select device driver "cdi"'
    # Docker notes 128 of its own; the unit shall end with what `docker start` said
    ran = docker.follow(start=[f"1 {refused}"], inspect=["0 created 128"])
    assert ran.returncode == 1
    assert ran.stderr == f"{refused}\n"
    assert docker.calls == [START, INSPECT]


def test_the_output_is_taken_up_again_after_a_restart_of_the_daemon(docker: Docker) -> None:
    ran = docker.follow(
        start=["1 unexpected EOF"],
        inspect=[AWAY, AWAY, "0 running 0", "0 exited 3"],
        attach=["0 more output"],
    )
    assert ran.returncode == 3
    assert ran.stdout == "more output\n"
    assert docker.calls == [START, INSPECT, "sleep 1", INSPECT, "sleep 1", INSPECT, ATTACH, INSPECT]


def test_the_daemon_may_restart_again_and_again(docker: Docker) -> None:
    ran = docker.follow(
        start=["1 unexpected EOF"],
        inspect=["0 running 0", AWAY, "0 running 0", "0 exited 0"],
        attach=["1 unexpected EOF", "0 more output"],
    )
    assert ran.returncode == 0
    assert docker.calls == [START, INSPECT, ATTACH, INSPECT, "sleep 1", INSPECT, ATTACH, INSPECT]


def test_a_container_that_ended_while_the_daemon_was_away_still_gives_its_code(docker: Docker) -> None:
    ran = docker.follow(start=["1 unexpected EOF"], inspect=[AWAY, "0 exited 137"])
    assert ran.returncode == 137


def test_one_that_is_being_removed_is_waited_for(docker: Docker) -> None:
    ran = docker.follow(start=["2 output"], inspect=["0 removing 137", GONE])
    assert ran.returncode == 2
    assert docker.calls == [START, INSPECT, "sleep 1", INSPECT]


def test_a_removed_container_ends_with_the_last_code(docker: Docker) -> None:
    assert docker.follow(start=["5 output"], inspect=[GONE]).returncode == 5
    assert docker.follow(start=["1 EOF"], inspect=["0 running 0", GONE], attach=["130 output"]).returncode == 130
