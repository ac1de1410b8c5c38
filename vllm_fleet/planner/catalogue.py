"""Where a model's config.json comes from: the one that is declared, else the one the bundle ships for common models.

The shipped files (models/*.json) are those of the hub; tests/data/parameters.json holds what their modules count to.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from vllm_fleet.planner.memory import Subject
from vllm_fleet.planner.model import build_model
from vllm_fleet.planner.model_config import ModelConfig, read_model_config
from vllm_fleet.planner.quantization import parse_quantization
from vllm_fleet.planner.safetensors import checkpoint_bytes
from vllm_fleet.schema.weights import Directory, Weights

_FOLDER = Path(__file__).with_name("models")


def catalogued(name: str) -> Path | None:
    """The shipped config.json of a model (`organisation/name`, in any case), or None."""
    wanted = name.replace("/", "--").lower()
    return next((path for path in _FOLDER.glob("*.json") if path.stem.lower() == wanted), None)


def close_names(name: str) -> list[str]:
    """Names in the catalogue that look like this one."""
    known = {path.stem.replace("--", "/", 1) for path in _FOLDER.glob("*.json")}
    tails = {entry.split("/", 1)[1].lower(): entry for entry in sorted(known)}
    found = difflib.get_close_matches(name.split("/")[-1].lower(), tails, n=3, cutoff=0.6)
    return [tails[tail] for tail in found]


def config_path(source: Weights) -> Path | None:
    """The config.json of a service's model: the declared one, that of a directory this machine reads too, the
    catalogue's; None where there is none of them."""
    if source.config:
        declared = Path(source.config)
        return declared / "config.json" if declared.is_dir() else declared
    if isinstance(source, Directory) and (Path(source.path) / "config.json").is_file():
        return Path(source.path) / "config.json"
    return catalogued(source.name)


def config_of(source: Weights) -> ModelConfig | None:
    """The configuration of a service's model, None where it is not known here.

    Raises ConfigError for a declared file that is not there or is none.
    """
    path = config_path(source)
    return read_model_config(path, source.name) if path else None


def subject_of(config: ModelConfig, directory: Path | None = None) -> Subject:
    """What to size: with a directory that holds the weights too, at their true size. Raises ConfigError."""
    model = build_model(config)
    quantization = parse_quantization(config.quantization, config.name) if config.quantization else None
    weighed = None
    if directory and directory.is_dir():
        weighed = checkpoint_bytes(directory, len(model.layers), 2, quantization is not None, model.tied)
    return Subject(model, quantization, weighed)
