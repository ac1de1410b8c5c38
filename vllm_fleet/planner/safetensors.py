"""Exact sizes from the weights themselves: the headers of a directory's safetensors files, without reading the rest.

Format: https://github.com/huggingface/safetensors (8 bytes little-endian header length, then JSON).
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from vllm_fleet.schema import ConfigError

_LARGEST_HEADER = 100 * 2**20  # the format's own bound
_WIDE = {"F64", "F32", "F16", "BF16"}


def checkpoint_bytes(directory: Path, layers: int, wide: int, quantized: bool) -> int | None:
    """Bytes of a checkpoint's tensors as an engine holds them, or None where there are no safetensors files.

    `layers` are the model's own: layers beyond them (multi-token prediction) are not loaded. In an unquantized
    checkpoint numbers of any width become `wide` bytes. Raises ConfigError for a file that is cut off or no such file.
    """
    files = [file for file in sorted(directory.glob("*.safetensors")) if not file.name.startswith("consolidated")]
    if not files:
        return None
    return sum(
        _tensor_bytes(entry, file, wide, quantized)
        for file in files
        for name, entry in _header(file).items()
        if name != "__metadata__" and not _is_extra(name, layers)
    )


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, file.stat().st_size):
                raise ValueError
            header = json.loads(opened.read(length))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); fetch it again") from None
    except ValueError:  # JSON's and Unicode's errors are such
        raise ConfigError(f"{file}: is not a safetensors file, or is cut off; fetch it again") from None
    if not isinstance(header, dict):
        raise ConfigError(f"{file}: is not a safetensors file; fetch it again")
    return header


def _tensor_bytes(entry: Any, file: Path, wide: int, quantized: bool) -> int:
    try:
        start, end = entry["data_offsets"]
        elements = math.prod(entry["shape"])
        return elements * wide if entry["dtype"] in _WIDE and not quantized else int(end - start)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{file}: has a tensor without shape or offsets; fetch it again") from None


def _is_extra(name: str, layers: int) -> bool:
    found = re.match(r"model\.layers\.(\d+)\.", name)
    return found is not None and int(found[1]) >= layers
