"""vLLM's own word on a service: its whole configuration object, built in another process where vLLM is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllm_fleet.engine.argv import serve_arguments
from vllm_fleet.planner.catalogue import config_path
from vllm_fleet.planner.placement import Placement
from vllm_fleet.schema import Service
from vllm_fleet.schema.errors import Problem

_BUILD = Path(__file__).parent / "build_configuration.py"
_SECONDS = 300
_NO_DEEP = "leave --deep out"


def check_deep(placements: list[Placement]) -> list[Problem]:
    """What vLLM of this Python refuses; and each service that it cannot be asked about, with the reason."""
    if importlib.util.find_spec("vllm") is None:
        fix = f"install vLLM beside fleet ({Path(sys.executable).parent}/pip install vllm), or {_NO_DEEP}"
        return [Problem("--deep", "this Python has no vLLM", fix)]
    heads = {one.service.name: one for one in reversed(placements) if one.head}
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory() as scratch:
        jobs: dict[str, list[str]] = {}
        for name, placement in sorted(heads.items()):
            if config := config_path(placement.service.model):
                jobs[name] = [_model_directory(Path(scratch) / name, config), *_arguments(placement)]
            else:
                fix = f"add its config.json to vllm_fleet/planner/models, or {_NO_DEEP}"
                problems.append(Problem(f"services.{name}.model", "its config.json is not known here", fix))
        answer = _ask(jobs)
    if isinstance(answer, Problem):
        return [*problems, answer]
    return problems + list(_said(answer, [heads[name].service for name in jobs]))


def _model_directory(directory: Path, config: Path) -> str:
    """vLLM reads nothing else of a model here."""
    directory.mkdir()
    (directory / "config.json").write_bytes(config.read_bytes())
    return str(directory)


def _arguments(placement: Placement) -> list[str]:
    """The options, without the file of secrets, which is on the hosts only."""
    arguments = serve_arguments(placement)[1:]
    index = arguments.index("--config")
    return arguments[:index] + arguments[index + 2 :]


def _ask(jobs: dict[str, list[str]]) -> dict[str, Any] | Problem:
    command = [sys.executable, str(_BUILD)]
    try:
        ran = subprocess.run(
            command, input=json.dumps(jobs), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        answer: dict[str, Any] = json.loads(ran.stdout)
    except subprocess.TimeoutExpired:
        return Problem("--deep", f"vLLM took longer than {_SECONDS} s", _NO_DEEP)
    except ValueError:
        lines = ran.stderr.strip().splitlines() or ["it says nothing"]
        return Problem("--deep", f"vLLM does not start here ({lines[-1].strip()})", f"mend that, or {_NO_DEEP}")
    return answer


def _said(answer: dict[str, Any], services: list[Service]) -> Iterator[Problem]:
    installed = str(answer["version"])
    for service in services:
        wanted = service.runtime.vllm.split(".")[:2]
        if installed.split(".")[:2] != wanted:
            version = ".".join(wanted)
            yield Problem(
                f"services.{service.name}.runtime.vllm",
                f"is {version}, and vLLM {installed} was asked",
                f"install vllm=={version}.* beside fleet, or {_NO_DEEP}",
            )
        if why := answer["refused"].get(service.name):
            yield Problem(f"services.{service.name}", f"vLLM {installed} refuses it: {why}", "change what it names")
