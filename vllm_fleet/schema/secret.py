"""Secrets: where a value comes from, never the value itself."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import cache
from pathlib import Path

from pydantic import model_serializer, model_validator

from .base import Model
from .errors import ConfigError, FieldError

_SOURCES = ("env", "file", "command")


class Secret(Model):
    """A secret read when a deploy needs it: `Secret(env="KEY")`, `Secret(file="path")` or `Secret(command="pass x")`.

    The object holds only the source, so its repr, JSON and any log of it cannot show the value.
    """

    env: str | None = None
    file: str | None = None
    command: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Secret:
        if len([source for source in _SOURCES if getattr(self, source)]) != 1:
            raise FieldError("env", "a secret has exactly one source; set one of env, file or command")
        return self

    @model_serializer
    def _redacted(self) -> str:
        return "<secret>"

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    __str__ = __repr__

    def read(self, path: str) -> str:
        """The value, one word, surrounding white space removed. `path` names the secret in an error
        (`services.chat.api_key`).

        Raises ConfigError when the source is missing, fails, or yields nothing: an empty key would silently
        turn vLLM's authentication off (measured on 0.32: an empty VLLM_API_KEY accepts everyone).
        """
        value = self.read_text(path)
        if any(character.isspace() or not character.isprintable() for character in value):
            raise ConfigError(f"{path}: the secret from {self._source()} has white space inside; store one word")
        return value

    def read_text(self, path: str) -> str:
        """As `read`, for a value of several lines."""
        value = self._read(path).strip()
        if not value:
            raise ConfigError(f"{path}: the secret from {self._source()} is empty; put a value there")
        return value

    def _source(self) -> str:
        if self.env:
            return f"environment variable {self.env}"
        if self.file:
            return f"file {self.file}"
        # only the program: its arguments may themselves be secret
        return f"command {shlex.split(self.command or '')[0]}"

    def _read(self, path: str) -> str:
        if self.env:
            if self.env not in os.environ:
                raise ConfigError(f"{path}: environment variable {self.env} is not set; export it before the deploy")
            return os.environ[self.env]
        if self.file:
            try:
                return Path(self.file).expanduser().read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not text"
                raise ConfigError(
                    f"{path}: cannot read file {self.file} ({reason}); create it with mode 0600"
                ) from None
        return self._run(path)

    def _run(self, path: str) -> str:
        try:
            done = _run_once(self.command or "")
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ConfigError(
                f"{path}: {self._source()} did not run ({type(error).__name__}); try it by hand"
            ) from None
        if done.returncode:
            raise ConfigError(f"{path}: {self._source()} ended with {done.returncode}; try it by hand")
        return done.stdout


@cache
def _run_once(command: str) -> subprocess.CompletedProcess[str]:
    """A command's result, kept: a password manager is asked once a deploy, not once a host."""
    return subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=False)
