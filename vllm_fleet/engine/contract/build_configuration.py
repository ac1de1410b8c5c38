"""Build vLLM's configuration objects: {name: arguments} on standard input, {name: why it is refused} on the output.

A program of its own, run by deep.py with a Python that has vLLM; it imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import importlib
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
    print(json.dumps(refused))


def _parser() -> tuple[Any, Any]:
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    for place in ("vllm.entrypoints.common.cli_args", "vllm.entrypoints.launchers.cli_args"):  # 0.33, 0.32
        with contextlib.suppress(ModuleNotFoundError):
            cli = importlib.import_module(place)
            return cli.make_arg_parser(flexible()), cli
    raise SystemExit("this vLLM keeps its parser in a place that is not known here")


def _refusal(parser: Any, cli: Any, arguments: list[str]) -> str:
    """The last line of what vLLM says; empty when it takes the arguments."""
    engine = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs
    try:
        named = parser.parse_args(arguments)
        named.model = named.model_tag
        cli.validate_parsed_serve_args(named)
        engine.from_cli_args(named).create_engine_config()
    except SystemExit:
        return "its parser does (run without --deep for the reason)"
    except Exception as error:  # whatever vLLM raises is what the user would meet
        return _line(error)
    return ""


def _line(error: Exception) -> str:
    """pydantic's message has the reason in its second last lines, others in their first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("Value error", "Assertion failed"))]
    text = (reasons or lines or [type(error).__name__])[0]
    return text.split(" [type=", 1)[0].removeprefix("Value error, ")


if __name__ == "__main__":
    main()
