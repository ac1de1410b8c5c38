"""`fleet check`: what vLLM would refuse or ignore, before a host is contacted."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from vllm_fleet.commands.base import counted
from vllm_fleet.engine.contract import NEWEST, SUPPORTED, check_deploy, check_text, find_snapshot
from vllm_fleet.engine.contract.deep import check_deep
from vllm_fleet.inventory import load
from vllm_fleet.observe.used_metrics import used_metrics
from vllm_fleet.planner import Placement
from vllm_fleet.schema import ConfigError, Fleet
from vllm_fleet.schema.errors import Problem


@click.command()
@click.argument("file", type=click.Path())
@click.option("--deep", is_flag=True, help="Also build vLLM's own configuration; needs vLLM in this Python.")
@click.option("--vllm", type=click.Choice(SUPPORTED), default=NEWEST, show_default=True, help="For a file of commands.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def check(file: str, deep: bool, vllm: str, as_json: bool) -> None:
    """Check an inventory's services against the vLLM versions they run, one line a problem. Contacts no host.

    FILE that does not end in .py is a file of commands: each `vllm serve` in it is checked.
    """
    if file.endswith(".py"):
        problems, checked = _check_inventory(file, deep)
    else:
        problems, checked = _check_commands(file, vllm)
    if as_json:
        found = [asdict(problem) for problem in problems]
        click.echo(json.dumps({"ok": not problems, "checked": checked, "problems": found}, indent=2))
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(f"{counted(len(problems), 'problem')}: {checked}")
    sys.exit(1 if problems else 0)


def _check_inventory(inventory: str, deep: bool) -> tuple[list[Problem], str]:
    fleet, placements = load(inventory)
    problems = check_deploy(fleet, placements, used_metrics())
    if deep:
        with Console(stderr=True).status("building vLLM's configuration of each service"):
            problems += check_deep(placements)
    return problems, _summary(fleet, placements)


def _summary(fleet: Fleet, placements: Sequence[Placement]) -> str:
    versions = sorted({service.runtime.vllm for service in fleet.services} - {""})
    against = f" against vLLM {', '.join(versions)}" if versions else ""
    return f"{counted(len(fleet.services), 'service')}, {counted(len(placements), 'engine')}{against}"


def _check_commands(file: str, vllm: str) -> tuple[list[Problem], str]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); name an inventory or a file of commands"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not text; name an inventory or a file of commands") from None
    snapshot = find_snapshot(vllm)
    assert snapshot  # one of SUPPORTED
    problems, commands = check_text(snapshot, text, file)
    return problems, f"{counted(commands, 'command')} against vLLM {vllm}"
