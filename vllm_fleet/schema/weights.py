"""Where a model's weights come from, and the shape that decides how they may be split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Model, Sha256
from .errors import FieldError
from .secret import Secret


class Shape(Model):
    """What the planner must know of a model; the numbers are its config.json's."""

    attention_heads: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]

    def tensor_parallel_sizes(self) -> list[int]:
        """The sizes up to 16 that divide the attention heads, as vLLM demands (ModelConfig, 0.32)."""
        return [size for size in range(1, 17) if self.attention_heads % size == 0]


# Read from each model's public config.json (num_attention_heads, num_hidden_layers), 2026-11.
KNOWN_SHAPES: dict[str, Shape] = {
    "meta-llama/Llama-3.1-8B-Instruct": Shape(attention_heads=32, layers=32),
    "meta-llama/Meta-Llama-3-8B-Instruct": Shape(attention_heads=32, layers=32),
    "meta-llama/Llama-3.1-70B-Instruct": Shape(attention_heads=64, layers=80),
    "meta-llama/Llama-3.3-70B-Instruct": Shape(attention_heads=64, layers=80),
    "meta-llama/Llama-3.1-405B-Instruct": Shape(attention_heads=128, layers=126),
    "meta-llama/Llama-3.1-405B-Instruct-FP8": Shape(attention_heads=128, layers=126),
    "Qwen/Qwen2.5-7B-Instruct": Shape(attention_heads=28, layers=28),
    "Qwen/Qwen2.5-72B-Instruct": Shape(attention_heads=64, layers=80),
    "Qwen/Qwen2.5-72B-Instruct-AWQ": Shape(attention_heads=64, layers=80),
}


class Weights(Model):
    """A model by name, and one pinned state of its files. Use Hub, Directory or Archive."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    shape: Shape | None = None

    @property
    def revision_id(self) -> str:
        """What tells two states of the same model apart; part of the directory's name on the host."""
        raise NotImplementedError

    @property
    def directory_name(self) -> str:
        """The directory below the model store: one a model and revision, so two releases can stand side by side."""
        return f"{self.name.replace('/', '--')}/{self.revision_id}"

    def known_shape(self) -> Shape | None:
        """The declared shape, else the one shipped here for well-known models, else None (vLLM then checks)."""
        return self.shape or KNOWN_SHAPES.get(self.name)


class Hub(Weights):
    """A repository on the Hugging Face hub (or a mirror of it), at one commit."""

    kind: Literal["hub"] = "hub"
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="the full commit, 40 hex digits")]
    token: Secret | None = None
    endpoint: str | None = None

    @model_validator(mode="after")
    def _https_for_a_token(self) -> Hub:
        if self.token and self.endpoint and self.endpoint.startswith("http://"):
            raise FieldError("endpoint", "a token would travel in clear text; use https:// or drop the token")
        return self

    @property
    def revision_id(self) -> str:
        return self.revision


class Directory(Weights):
    """A directory the hosts can already read (NFS, a mounted disk); copied once to local disk and checked.

    `sha256` is that of the directory's `SHA256SUMS` file (`sha256sum` over all files), which pins every byte.
    """

    kind: Literal["directory"] = "directory"
    path: Annotated[str, Field(pattern=r"^/")]
    sha256: Sha256

    @property
    def revision_id(self) -> str:
        return self.sha256[:40]


class Archive(Weights):
    """A tar archive on the machine that deploys, sent to each host over SSH: for hosts that reach nothing."""

    kind: Literal["archive"] = "archive"
    path: str
    sha256: Sha256

    @property
    def revision_id(self) -> str:
        return self.sha256[:40]


Source = Annotated[Hub | Directory | Archive, Field(discriminator="kind")]
