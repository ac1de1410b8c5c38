"""`fleet plan`: what runs where, what it takes of each GPU, how fast it can get, and what would be better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from vllm_fleet.commands.base import console
from vllm_fleet.hub import find_model
from vllm_fleet.inventory import load
from vllm_fleet.planner import Placement
from vllm_fleet.planner.catalogue import subject_of
from vllm_fleet.planner.memory import Estimate, Subject, estimate
from vllm_fleet.planner.report import GIB, memory_problem, summary
from vllm_fleet.planner.services import Sizing, sizings
from vllm_fleet.planner.settings import Settings
from vllm_fleet.planner.split import split_problems, tensor_parallel_sizes
from vllm_fleet.planner.topology import ranks
from vllm_fleet.schema import ConfigError, Problem
from vllm_fleet.schema.gpu import Gpu, gpu


def _engine_options(command: Any) -> Any:
    """vLLM's own option names, for a model without an inventory."""
    whole = click.IntRange(1, 10**9)
    size = click.IntRange(1, 10**4)
    for option in reversed(
        [
            click.option("--tensor-parallel-size", "-tp", type=size, help="Default: all GPUs that the model can use."),
            click.option("--pipeline-parallel-size", "-pp", type=size, default=1, show_default=True),
            click.option("--data-parallel-size", "-dp", type=size, default=1, show_default=True),
            click.option("--enable-expert-parallel", is_flag=True),
            click.option("--max-model-len", type=whole, help="Default: the model's own."),
            click.option(
                "--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), default=0.92, show_default=True
            ),
            click.option(
                "--kv-cache-dtype",
                type=click.Choice(["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2"]),
                default="auto",
                show_default=True,
            ),
            click.option(
                "--quantization",
                "-q",
                help="To quantize on load (fp8_per_tensor); a quantized checkpoint says so itself.",
            ),
            click.option("--max-num-batched-tokens", type=whole, help="Default: vLLM's for the GPU."),
            click.option("--max-num-seqs", type=whole, help="Default: vLLM's for the GPU."),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "bfloat16", "float16", "half", "float32", "float"]),
                default="auto",
                show_default=True,
            ),
            click.option("--enforce-eager", is_flag=True, help="Without CUDA graphs."),
        ]
    ):
        command = option(command)
    return command


@click.command()
@click.argument("inventory", type=click.Path(), required=False)
@click.option("--model", help="Plan one model instead: a directory, a config.json, or organisation/name.")
@click.option("--gpu", "card", help="The GPU it would run on: h200, h100-sxm, a100-80gb, l4 ...")
@click.option("--count", type=click.IntRange(1, 10**4), help="How many of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@_engine_options
def plan(
    inventory: str | None, model: str | None, card: str | None, count: int | None, as_json: bool, **options: Any
) -> None:
    """Show which engine runs where and what it takes of its GPUs; contacts no host.

    Give an inventory, or --model and --gpu. Exit code 1: something does not fit.
    """
    if bool(inventory) == bool(model):
        raise click.UsageError("give an inventory, or --model and --gpu")
    if not options["gpu_memory_utilization"] <= 1:  # click lets NaN through
        raise click.UsageError("--gpu-memory-utilization is a share of 1, like 0.92")
    if inventory:
        _refuse_model_options()
        _plan_inventory(inventory, as_json)
    else:
        if not card:
            raise click.UsageError("--model needs --gpu: h200, h100-sxm, a100-80gb, l4 ...")
        _plan_model(str(model), gpu(card), count, as_json, options)


def _refuse_model_options() -> None:
    """An inventory says all of this itself; an option beside it would do nothing."""
    context = click.get_current_context()
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    extra = [name for name in given if name not in ("inventory", "as_json")]
    if extra:
        option = "--gpu" if extra[0] == "card" else f"--{extra[0].replace('_', '-')}"
        raise click.UsageError(f"{option} is for --model; the inventory's services say it for themselves")


def _plan_model(wanted: str, card: Gpu, count: int | None, as_json: bool, options: dict[str, Any]) -> None:
    config, directory = find_model(wanted)
    subject = subject_of(config, directory)
    settings = _settings(subject, count, options)
    problems = [*_misfits(subject, settings, card, count)]
    if settings.pipeline_parallel_size > len(subject.model.layers):
        raise ConfigError(*map(str, problems))  # a stage without layers has no size
    found = estimate(subject, settings, card)
    if not problems and (missing := memory_problem(found, "--model", "--max-model-len")):
        problems.append(missing)
    if as_json:
        content = {**summary(found), "fits": found.fits and not problems}
        click.echo(json.dumps({**content, "problems": [vars(problem) for problem in problems]}, indent=2))
    else:
        out = console()
        out.print(
            _memory_table([(subject.model.name.split("/")[-1], found)], f"{found.settings.gpus} x {card.name}", "model")
        )
        _print_findings(out, summary(found))
        _print_problems(problems)
    if problems:
        raise SystemExit(1)


def _settings(subject: Subject, count: int | None, options: dict[str, Any]) -> Settings:
    """The options as settings; all GPUs that the model can be split over, where no tensor parallel size is given."""
    if options["tensor_parallel_size"] is None:
        beside = options["pipeline_parallel_size"] * options["data_parallel_size"]
        room = max((count or 1) // beside, 1)
        sizes = tensor_parallel_sizes(subject.model, room)
        options["tensor_parallel_size"] = max(
            (
                size
                for size in sizes
                if not split_problems(subject, Settings(**{**options, "tensor_parallel_size": size}))
            ),
            default=1,
        )
    return Settings(**options)


def _misfits(subject: Subject, settings: Settings, card: Gpu, count: int | None) -> Iterator[Problem]:
    if card.unsupported:
        yield Problem(
            "--gpu", f"{card.name} is not supported ({card.unsupported})", "use an NVIDIA GPU of the catalogue"
        )
    if count is not None and settings.gpus > count:
        yield Problem(
            "--count",
            f"{count} GPUs, but tensor x pipeline x data parallel takes {settings.gpus}",
            "lower a parallel size, or raise --count",
        )
    for problem in split_problems(subject, settings):
        yield Problem(f"--{problem.path.replace('_', '-')}", problem.problem, problem.fix)
    for each in subject.problems(settings):
        yield Problem(f"--{each.path.replace('_', '-')}", each.problem, each.fix)


def _plan_inventory(inventory: str, as_json: bool) -> None:
    fleet, placements = load(inventory)
    sized = sizings(fleet, placements)
    problems = [problem for each in sized for problem in each.problems]
    if as_json:
        content = {
            "engines": [_row(placement) for placement in placements],
            "services": [_service(each) for each in sized],
            "problems": [vars(problem) for problem in problems],
        }
        click.echo(json.dumps(content, indent=2))
    else:
        out = console()
        out.print(_placements_table(placements, Path(inventory).stem))
        for host in fleet.hosts:
            used = sum(len(placement.gpus) for placement in placements if placement.host == host)
            card = f" {host.card.name}" if host.card else ""
            share = f", {used} of {host.gpus} GPUs{card}" if host.gpus else ""
            click.echo(f"{host.name}: {', '.join(host.groups)}{share}")
        known = [(each.service.name, each.found) for each in sized if each.found]
        if known:
            out.print()
            out.print(_memory_table(known, "each GPU", "service"))
        for each in sized:
            out.print(f"\n[bold]{each.service.name}[/bold]: {each.service.model.name}", highlight=False)
            for reason in each.reasons:
                out.print(f"  - {reason}", highlight=False)
            if each.found:
                _print_findings(out, summary(each.found))
        _print_problems(problems)
    if problems:
        raise SystemExit(1)


def _service(sizing: Sizing) -> dict[str, Any]:
    unsized: dict[str, Any] = {"model": sizing.service.model.name, "fits": None}
    content = summary(sizing.found) if sizing.found else unsized
    problems = [vars(problem) for problem in sizing.problems]
    reasons = [*sizing.reasons, *content.get("reasons", [])]
    return {"service": sizing.service.name, **content, "reasons": reasons, "problems": problems}


def _row(placement: Placement) -> dict[str, Any]:
    return {
        "service": placement.service.name,
        "replica": placement.replica,
        "rank": placement.rank,
        "host": placement.host.name,
        "gpus": list(placement.gpus),
        "ranks": ranks(placement),
        "endpoint": placement.endpoint if placement.head else None,
        "unit": placement.unit,
    }


def _placements_table(placements: list[Placement], title: str) -> Table:
    table = Table(title=title)
    columns = ("service", "replica", "rank", "host", "gpus", "endpoint", "unit")
    for name in columns:
        table.add_column(name, overflow="fold")  # never cut: names are there to be copied
    for placement in placements:
        row = _row(placement)
        table.add_row(*(_text(row[name]) for name in columns))
    return table


def _text(value: object) -> str:
    """A value in the table; GPUs in a row are shown as the first and the last."""
    if isinstance(value, list):
        in_a_row = len(value) > 1 and value == list(range(value[0], value[-1] + 1))
        return f"{value[0]}-{value[-1]}" if in_a_row else ",".join(str(each) for each in value) or "-"
    return "-" if value is None else str(value)


def _memory_table(rows: list[tuple[str, Estimate]], title: str, what: str) -> Table:
    """A row a service, or one a pipeline stage where there are several; the last columns are the whole replica's."""
    table = Table(title=title, caption="GiB of each GPU; ceilings in tokens/s of a replica", caption_justify="left")
    table.add_column(what, overflow="fold")
    columns = ("weights", "activa-\ntion", "other", "CUDA\ngraphs", "KV\ncache", "KV\ntokens",
               "requests at\nfull length", "decode\n1 stream", "decode\nall", "prefill")  # fmt: skip
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for name, found in rows:
        for stage in found.stages:
            shown = f"{name} stage {stage.stage}" if len(found.stages) > 1 else name
            sizes = (
                stage.weights,
                stage.activation,
                stage.buffers + stage.non_torch,
                stage.cuda_graphs,
                stage.kv_cache,  # less than nothing: so much is missing
            )
            cells = [shown, *(f"{size / GIB:.1f}" for size in sizes)]
            table.add_row(*cells, *(_replica_cells(found) if stage.stage == 0 else []))
    return table


def _replica_cells(found: Estimate) -> list[str]:
    speed = found.ceilings
    rates = (speed.decode, speed.decode_full, speed.prefill)
    ranks = f"{found.settings.data_parallel_size} x " if found.settings.data_parallel_size > 1 else ""
    requests = f"{ranks}{found.max_concurrency:.1f} x {found.max_model_len}"
    return [f"{ranks}{found.kv_cache_tokens:,}", requests, *(f"{rate:,.0f}" for rate in rates)]


def _print_findings(out: Console, found: dict[str, Any]) -> None:
    for reason in found["reasons"]:
        out.print(f"  - {reason}", highlight=False)
    for each in found["advice"]:
        out.print(f"  [cyan]better[/cyan] {each['change']}: {each['reason']} ({each['gain']})", highlight=False)
    for each in found["remedies"]:
        gpus = f"{each['gpus']} GPU{'s' if each['gpus'] > 1 else ''}"
        room = f"{each['kv_cache_tokens']:,} KV-cache tokens, {each['max_concurrency']} x {each['max_model_len']}"
        out.print(f"  [green]fits[/green] with {', '.join(each['changes'])}: {gpus}, {room}", highlight=False)


def _print_problems(problems: list[Problem]) -> None:
    for problem in problems:
        click.secho(str(problem), fg="red")
