"""Sizes from the headers of safetensors files; the tensors themselves are never read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.models import small_config
from vllm_fleet.planner.catalogue import subject_of
from vllm_fleet.planner.model_config import read_model_config
from vllm_fleet.planner.safetensors import checkpoint_bytes
from vllm_fleet.schema import ConfigError

WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I32": 4}


def write(path: Path, tensors: dict[str, tuple[str, list[int]]], missing: int = 0) -> None:
    """A file of these tensors, `missing` bytes short; a hole stands for the numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = WIDTHS[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    write_header(path, json.dumps(header).encode(), end - missing)


def write_header(path: Path, header: bytes, room: int = 0, length: int | None = None) -> None:
    told = len(header) if length is None else length
    path.write_bytes(told.to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + room)


def size(directory: Path, quantized: bool = False, tied: bool = False) -> int | None:
    return checkpoint_bytes(directory, layers=2, wide=2, quantized=quantized, tied=tied)


def test_a_directory_without_weights_has_no_size(tmp_path):
    assert size(tmp_path) is None
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert size(tmp_path) is None


def test_the_sum_over_all_files(tmp_path):
    write(tmp_path / "model-00001-of-00002.safetensors", {"model.embed_tokens.weight": ("BF16", [100, 8])})
    write(tmp_path / "model-00002-of-00002.safetensors", {"lm_head.weight": ("BF16", [100, 8]), "a": ("BF16", [])})
    assert size(tmp_path) == 2 * 1600 + 2


def test_what_is_not_quantized_is_loaded_in_the_engines_type(tmp_path):
    write(tmp_path / "model.safetensors", {"a": ("F32", [10, 10]), "b": ("F16", [10]), "c": ("I32", [10])})
    assert size(tmp_path) == 200 + 20 + 40
    assert size(tmp_path, quantized=True) == 400 + 20 + 40


def test_what_is_not_loaded_does_not_count(tmp_path):
    write(
        tmp_path / "model.safetensors",
        {
            "model.layers.1.mlp.up_proj.weight": ("F8_E4M3", [10, 10]),
            # multi-token prediction, under its two names
            "model.layers.2.eh_proj.weight": ("F8_E4M3", [10, 10]),
            "mtp.fc.weight": ("F8_E4M3", [10, 10]),
        },
    )
    # Mistral's own format, beside the other
    write(tmp_path / "consolidated.safetensors", {"layers.0.w": ("BF16", [1000])})
    assert size(tmp_path) == 100


def test_a_head_that_is_the_embedding_counts_once(tmp_path):
    write(tmp_path / "model.safetensors", {"e": ("BF16", [10, 8]), "lm_head.weight": ("BF16", [10, 8])})
    assert size(tmp_path) == 320
    assert size(tmp_path, tied=True) == 160


def test_a_plan_takes_the_files_word_for_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    write(tmp_path / "model.safetensors", {"model.embed_tokens.weight": ("F32", [1000, 128])})
    config = read_model_config(tmp_path)
    assert subject_of(config, tmp_path).checkpoint_bytes == 2 * 1000 * 128
    assert subject_of(config, tmp_path / "config.json").checkpoint_bytes is None
    assert subject_of(config).checkpoint_bytes is None


# ---- files that are none ------------------------------------------------------------------------------------------


def tensor(**changes: Any) -> bytes:
    values = {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8], **changes}
    return json.dumps({"a": {key: value for key, value in values.items() if value is not None}}).encode()


@pytest.mark.parametrize(
    "header, room",
    [
        (tensor(), 7),  # cut off by a byte
        (tensor(data_offsets=None), 8),
        (tensor(shape=None), 8),
        (tensor(dtype=None), 8),
        (tensor(data_offsets=[0]), 8),
        (tensor(data_offsets=[8, 0]), 8),
        (tensor(data_offsets=[-8, 0]), 8),
        (tensor(data_offsets=["0", "8"]), 8),
        (tensor(data_offsets=[0, 10**30]), 8),
        (tensor(shape=["four"]), 8),
        (tensor(shape=[1.5]), 8),
        (tensor(shape=4), 8),
        (tensor(dtype=["BF16"]), 8),
        (b'{"a": [0, 8]}', 8),
        (b'{"a": null}', 8),
        (b"[]", 8),
        (b"not JSON", 8),
        (b"\xff\xfe\xff", 8),
        (b"[" * 100_000, 8),
    ],
)
def test_a_damaged_header_is_one_line(tmp_path, header, room):
    file = tmp_path / "model.safetensors"
    write_header(file, header, room)
    assert refused(file) == "is not a safetensors file, or is cut off; fetch it again"


@pytest.mark.parametrize("length", [0, 1, 10**3, 2**40, 2**64 - 1])
def test_a_length_that_lies_is_one_line(tmp_path, length):
    file = tmp_path / "model.safetensors"
    write_header(file, tensor(), 8, length)
    assert refused(file) == "is not a safetensors file, or is cut off; fetch it again"


def test_a_header_of_a_gigabyte_is_not_read(tmp_path):
    file = tmp_path / "model.safetensors"
    write_header(file, b"{}", 2**31, length=2**30)
    assert refused(file) == "is not a safetensors file, or is cut off; fetch it again"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    file = tmp_path / "model.safetensors"
    file.mkdir()
    assert refused(file) == "cannot be read (Is a directory); fetch it again"
    file.rmdir()
    file.symlink_to(tmp_path / "gone")
    assert refused(file) == "cannot be read (No such file or directory); fetch it again"


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_an_empty_file_is_one_line(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert refused(file) == "is not a safetensors file, or is cut off; fetch it again"


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        size(file.parent)
    path, _, rest = caught.value.message.partition(": ")
    assert path == str(file)
    return rest
