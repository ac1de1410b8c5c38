"""vLLM's own word on a service: its whole configuration object, built in another process where vLLM is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.engine.contract.models import config_path
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema.errors import Problem

_BUILD = Path(__file__).parent / "build_configuration.py"
_SECONDS = 300


def check_deep(placements: list[Placement]) -> list[Problem]:
    """What vLLM of this Python refuses of each service whose config.json is known here; one line that says so, of
    each of which it is not."""
    if importlib.util.find_spec("vllm") is None:
        fix = f"install it beside fleet ({Path(sys.executable).parent}/pip install vllm), or leave --deep out"
        return [Problem("--deep", "vLLM is not installed in this Python", fix)]
    heads = {one.service.name: one for one in reversed(placements) if one.head}
    problems = []
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {}
        for name, placement in sorted(heads.items()):
            if config := config_path(placement.service.model):
                directory = Path(scratch) / name
                directory.mkdir()
                (directory / "config.json").write_bytes(config.read_bytes())
                jobs[name] = [str(directory), *_without_files(serve_arguments(placement)[1:])]
            else:
                fix = "add its config.json to the catalogue (vllm_fleet/planner/models), or leave --deep out"
                problems.append(Problem(f"services.{name}.model", "its config.json is not known here", fix))
        return problems + list(_run(jobs))


def _without_files(arguments: list[str]) -> list[str]:
    """Without the file of secrets, which is on the hosts only."""
    index = arguments.index("--config")
    return arguments[:index] + arguments[index + 2 :]


def _run(jobs: dict[str, list[str]]) -> Iterator[Problem]:
    command = [sys.executable, str(_BUILD)]
    try:
        ran = subprocess.run(
            command, input=json.dumps(jobs), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        said = json.loads(ran.stdout)
    except subprocess.TimeoutExpired:
        yield Problem("--deep", f"vLLM took longer than {_SECONDS} s", "leave --deep out")
    except ValueError:
        lines = ran.stderr.strip().splitlines()
        yield Problem("--deep", f"vLLM does not start here: {lines[-1] if lines else 'no output'}", "leave --deep out")
    else:
        for name, line in said.items():
            yield Problem(f"services.{name}", f"vLLM refuses it: {line}", "change what it names")
