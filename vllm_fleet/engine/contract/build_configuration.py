"""Build vLLM's configuration objects, {name: arguments} on standard input, {name: why it is refused} on the output.

A program of its own, run by deep.py with a Python that has vLLM; it imports nothing of ours. The output is
{"version": ..., "refused": {...}}.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
from typing import Any


def main() -> None:
    jobs: dict[str, list[str]] = json.load(sys.stdin)
    os.environ.update(VLLM_CONFIGURE_LOGGING="0", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")
    with contextlib.redirect_stdout(sys.stderr):
        parser, cli = _parser()
        refused = {name: why for name, arguments in jobs.items() if (why := _refusal(parser, cli, arguments))}
        version = importlib.import_module("vllm").__version__
    print(json.dumps({"version": version, "refused": refused}))


def _parser() -> tuple[Any, Any]:
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    for place in ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args"):  # 0.33, 0.32
        with contextlib.suppress(ModuleNotFoundError):  # the other version has it elsewhere
            cli = importlib.import_module(place)
            return cli.make_arg_parser(flexible()), cli
    raise SystemExit("this vLLM keeps its parser in a place that is not known here")


def _refusal(parser: Any, cli: Any, arguments: list[str]) -> str:
    """Why vLLM refuses the arguments, in its words; empty when it takes them."""
    engine = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            named = parser.parse_args(arguments)
        named.model = named.model_tag
        cli.validate_parsed_serve_args(named)
        engine.from_cli_args(named).create_engine_config()
    except SystemExit:
        return _reason(said.getvalue().partition("error: ")[2] or said.getvalue())
    except Exception as error:  # whatever vLLM raises is what the user would meet
        return _reason(str(error)) or type(error).__name__
    return ""


def _reason(text: str) -> str:
    """The line of a message that says why; pydantic puts its own around it."""
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("Value error", "Assertion failed"))]
    line = (reasons or lines or [""])[0]
    return line.split(" [type=", 1)[0].removeprefix("Value error, ").rstrip(".")


if __name__ == "__main__":
    main()
