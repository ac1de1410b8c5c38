"""Values that vLLM's parser lets through and its engine refuses: names of methods, parsers, backends and formats."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_fleet.engine.contract import removed
from vllm_fleet.engine.contract.rules import Engine, Rule
from vllm_fleet.engine.contract.values import meant
from vllm_fleet.schema.errors import Problem


def quantization(engine: Engine) -> Iterator[Problem]:
    """ModelConfig._verify_quantization (0.33): the name is known, and not deprecated without its own option."""
    name = engine.get("quantization")
    if name is None:
        return
    method = engine.snapshot.quantization.get(name)
    gone = removed.QUANTIZATION.get(name)
    if method is None and gone:
        yield engine.problem("quantization", f"{name!r} {gone.what}", gone.instead)
    elif method is None:
        yield engine.problem(
            "quantization",
            f"vLLM {engine.snapshot.version} has no method {name!r}",
            meant(name, engine.snapshot.quantization),
        )
    elif method.deprecated and not engine.get("allow-deprecated-quantization"):
        yield engine.problem(
            "quantization", f"{name!r} is deprecated and refused", "use a checkpoint of another method"
        )


def parsers(engine: Engine) -> Iterator[Problem]:
    """validate_api_server_args in entrypoints/common/cli_args.py (0.33); a plugin may add names."""
    for option in ("tool-call-parser", "reasoning-parser"):
        plugin = engine.get(option.replace("call-", "") + "-plugin")
        if (name := engine.get(option)) and not plugin:
            yield from _known(engine, option, str(name), str(name))


def kv_cache_dtype(engine: Engine) -> Iterator[Problem]:
    """CacheConfig._validate_cache_dtype (0.33)."""
    if name := engine.get("kv-cache-dtype"):
        yield from _known(engine, "kv-cache-dtype", str(name), str(name))


def load_format(engine: Engine) -> Iterator[Problem]:
    """get_model_loader in model_executor/model_loader (0.33)."""
    name = engine.get("load-format")
    if name == "bitsandbytes":
        gone = removed.QUANTIZATION[name]
        yield engine.problem("load-format", f"{name!r} {gone.what}", gone.instead)
    elif name:
        yield from _known(engine, "load-format", str(name), str(name))


def attention_backend(engine: Engine) -> Iterator[Problem]:
    """AttentionConfig.validate_backend_before (0.33): the case does not count, `auto` is none."""
    name = engine.get("attention-backend")
    if name and name.lower() != "auto":
        yield from _known(engine, "attention-backend", name.upper(), name)


def executor(engine: Engine) -> Iterator[Problem]:
    """ParallelConfig (0.33): a short name, or the path of a class."""
    name = engine.get("distributed-executor-backend")
    known = ("external_launcher", "mp", "ray", "uni")
    if name and name not in known and "." not in name:
        yield engine.problem("distributed-executor-backend", f"{name!r} is no executor", meant(name, known))


def config_file(engine: Engine) -> Iterator[Problem]:
    """FlexibleArgumentParser.load_config_file (0.33)."""
    path = engine.get("config")
    if path is not None and not path.endswith((".yaml", ".yml")):
        yield engine.problem("config", f"must be a YAML file, got {path!r}", "name it .yaml")


def model(engine: Engine) -> Iterator[Problem]:
    """The hub has no repository of this name (articles have)."""
    if right := removed.MODELS.get(engine.line.model or ""):
        yield engine.problem("model", f"the hub has no {engine.line.model}", f"use {right}")


def ports(engine: Engine) -> Iterator[Problem]:
    """A port outside 1 to 65535 parses and fails when the server binds it (measured on 0.32)."""
    for option, value in engine.line.values.items():
        port = option == "port" or option.endswith("-port")
        if port and isinstance(value, int) and not 1 <= value <= 65535:
            yield engine.problem(option, f"must be a port from 1 to 65535, got {value}", "change it")


def _known(engine: Engine, option: str, name: str, given: str) -> Iterator[Problem]:
    names = engine.snapshot.names[option]
    if name not in names:
        yield engine.problem(option, f"vLLM {engine.snapshot.version} has no {given!r}", meant(name, names))


RULES: tuple[Rule, ...] = (
    quantization,
    parsers,
    kv_cache_dtype,
    load_format,
    attention_backend,
    executor,
    config_file,
    model,
    ports,
)
