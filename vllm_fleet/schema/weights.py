"""Where a model's weights come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Model, Sha256
from .errors import FieldError
from .secret import Secret


class Weights(Model):
    """A model by name, and one pinned state of its files. Use Hub, Directory or Archive."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    config: str | None = None
    """The model's config.json on the machine that deploys (or its directory), for models that the bundle's catalogue
    does not have: sizes are planned and split sizes checked from it."""

    @property
    def revision_id(self) -> str:
        """What tells two states of the same model apart; part of the directory's name on the host."""
        raise NotImplementedError

    @property
    def directory_name(self) -> str:
        """The directory below the model store: one a model and revision, so two releases can stand side by side."""
        return f"{self.name.replace('/', '--')}/{self.revision_id}"


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
