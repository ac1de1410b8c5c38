"""What operations share: scripts as commands, scripts run from inside an operation, and what they say of a plan."""

from __future__ import annotations

import shlex

from pyinfra import host, logger, state
from pyinfra.api import Host, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.output import format_text

_SHOWN = 10
"""Of what a failed script wrote to its standard error, the last lines."""


class Failed(Exception):
    """A step of an operation failed; the message is one line for a person."""


def script(text: str) -> StringCommand:
    """A shell script as one command, which a `sudo` before it takes as a whole."""
    return StringCommand("sh", "-c", shlex.quote(text))


def run(on: Host, text: str, stdin: str | None = None, seconds: int | None = None) -> list[str]:
    """Run a script on any host of this deploy, as its operations are run; the lines it prints.

    Raises Failed with the last line it wrote to its standard error, and whatever a broken connection raises.
    """
    given, _ = pop_global_arguments(state, on, {})
    arguments = {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS}
    arguments |= {"_stdin": stdin} if stdin is not None else {}
    arguments |= {"_timeout": seconds} if seconds is not None else {}
    done, output = on.run_shell_command(
        script(text), print_output=state.print_output, print_input=state.print_input, **arguments
    )
    if not done:
        *before, last = [line for line in output.stderr_lines if line.strip()] or ["it failed without a word"]
        for line in before[-_SHOWN:]:
            logger.error("%s%s", on.print_prefix, line)
        raise Failed(f"{on.name}: {last.strip()}")
    return list(output.stdout_lines)


def is_shown() -> bool:
    """Whether operations say what they will do: while a plan is made, and under `--diff`."""
    return not state.is_executing or state.config.DIFF


def say(verb: str, what: str = "") -> None:
    """One thing that this host's operation will do."""
    host.log(f"Will {verb} {format_text(what, bold=True)}", logger.info)
