"""`--deep`: vLLM's own word, here that of a stand-in with the modules that are asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fleets import example_fleet, service
from vllm_fleet.engine.contract.deep import check_deep
from vllm_fleet.planner import place

MODULES = {
    "__init__": '__version__ = "0.33.0+cpu"',
    "utils/argparse_utils": "import argparse\nclass FlexibleArgumentParser(argparse.ArgumentParser): pass",
    "entrypoints/common/cli_args": """
def make_arg_parser(parser):
    parser.add_argument("model_tag")
    parser.add_argument("--max-num-seqs", type=int)
    for name in ("served-model-name", "host", "port", "shutdown-timeout", "dtype", "gpu-memory-utilization"):
        parser.add_argument(f"--{name}")
    for name in ("disable-fastapi-docs", "enable-prefix-caching"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--disable-access-log-for-endpoints")
    return parser

def validate_parsed_serve_args(named):
    pass
""",
    "engine/arg_utils": """
import os
class AsyncEngineArgs:
    @classmethod
    def from_cli_args(cls, named):
        assert os.listdir(named.model) == ["config.json"]
        print("a line that is no JSON")
        found = cls()
        found.sequences = named.max_num_seqs
        return found

    def create_engine_config(self):
        if self.sequences == 7:
            raise ValueError("1 validation error\\n  Value error, seven is refused. [type=value_error]\\n    see")
""",
}


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "vllm"
    for name, text in MODULES.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in [path.parent, *path.parent.parents][: len(path.relative_to(package).parts)]:
            (folder / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return package


def deep(model: str = "meta-llama/Llama-3.1-8B-Instruct", **values: Any) -> list[str]:
    fleet = example_fleet(services=[service("chat", model, hosts=["gpu1"], **values)])
    return [str(problem) for problem in check_deep(place(fleet))]


@pytest.mark.usefixtures("vllm")
def test_what_vllm_takes() -> None:
    assert deep() == []


@pytest.mark.usefixtures("vllm")
def test_what_vllm_refuses_in_its_words() -> None:
    assert deep(options={"max-num-seqs": 7}) == [
        "services.chat: vLLM 0.33.0+cpu refuses it: seven is refused; change what it names"
    ]
    (line,) = deep(options={"max-num-seqs": "many"})
    assert line.startswith(
        "services.chat: vLLM 0.33.0+cpu refuses it: argument --max-num-seqs: invalid int value: 'many'"
    )


@pytest.mark.usefixtures("vllm")
def test_a_model_that_is_not_known_is_said() -> None:
    assert deep("nobody/knows-this") == [
        "services.chat.model: its config.json is not known here; "
        "add its config.json to vllm_fleet/planner/models, or leave --deep out"
    ]


def test_another_version_than_the_services(vllm: Path) -> None:
    (vllm / "__init__.py").write_text('__version__ = "0.32.0"')
    assert deep() == [
        "services.chat.runtime.vllm: is 0.33, and vLLM 0.32.0 was asked; "
        "install vllm==0.33.* beside fleet, or leave --deep out"
    ]


def test_a_broken_installation_is_one_line(vllm: Path) -> None:
    (vllm / "utils" / "argparse_utils.py").write_text("raise ImportError('libcuda.so.1: not found')")
    assert deep() == [
        "--deep: vLLM does not start here (ImportError: libcuda.so.1: not found); mend that, or leave --deep out"
    ]


def test_without_vllm() -> None:
    assert deep() == [
        f"--deep: this Python has no vLLM; install vLLM beside fleet ({Path(sys.executable).parent}/pip install vllm), "
        "or leave --deep out"
    ]
