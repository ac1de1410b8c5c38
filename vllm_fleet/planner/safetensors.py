"""Exact sizes from the weights themselves: the headers of a directory's safetensors files, without reading the rest.

Format: https://github.com/huggingface/safetensors (8 bytes little-endian header length, then JSON).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllm_fleet.schema import ConfigError

_LARGEST_HEADER = 100 * 2**20  # the format's own bound
_WIDE = {"F64", "F32", "F16", "BF16"}


def checkpoint_bytes(directory: Path, layers: int, wide: int, quantized: bool, tied: bool = False) -> int | None:
    """Bytes of a checkpoint's tensors as an engine holds them, or None where there are no safetensors files.

    `layers` are the model's own: layers beyond them (multi-token prediction) are not loaded, nor is the output head of
    `tied` embeddings, which some checkpoints hold all the same. In an unquantized checkpoint numbers of any width
    become `wide` bytes. Raises ConfigError for a file that is cut off or no such file.
    """
    _check_complete(directory)
    files = [file for file in sorted(directory.glob("*.safetensors")) if not file.name.startswith("consolidated")]
    if not files:
        return None
    return sum(
        size
        for file in files
        for name, size in _tensors(file, wide, quantized)
        if not (_is_extra(name, layers) or (tied and name == "lm_head.weight"))
    )


def _check_complete(directory: Path) -> None:
    """Raise ConfigError where the checkpoint's own list names a file that is not there."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
        missing = sorted(name for name in named if not (directory / name).is_file())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{index}: is no list of a checkpoint's files; fetch it again") from None
    if missing:
        raise ConfigError(
            f"{directory}: {len(missing)} of {len(named)} files are missing ({missing[0]}); fetch the rest"
        )


def _tensors(file: Path, wide: int, quantized: bool) -> Iterator[tuple[str, int]]:
    """The name and size of each tensor."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            room = file.stat().st_size - 8 - length
            if length > _LARGEST_HEADER or room < 0:
                raise ValueError
            header = json.loads(opened.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, _tensor_bytes(entry, room, wide, quantized)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); fetch it again") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # JSON's errors are ValueErrors
        raise ConfigError(f"{file}: is not a safetensors file, or is cut off; fetch it again") from None


def _tensor_bytes(entry: Any, room: int, wide: int, quantized: bool) -> int:
    start, end = entry["data_offsets"]
    shape = entry["shape"]
    if not all(isinstance(number, int) for number in (start, end, *shape)) or not 0 <= start <= end <= room:
        raise ValueError
    return math.prod(shape) * wide if entry["dtype"] in _WIDE and not quantized else int(end - start)


def _is_extra(name: str, layers: int) -> bool:
    found = re.match(r"model\.layers\.(\d+)\.", name)
    return name.startswith("mtp.") or (found is not None and int(found[1]) >= layers)
