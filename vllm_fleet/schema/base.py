"""The base of every configuration object: frozen, strict, and with errors a person can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import ConfigError, findings

Name = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="lower-case letters, digits and dashes, a letter first")
]
"""A service's or host's name: lower case, digits and dashes, as systemd units and metric labels take it."""

Port = Annotated[int, Field(ge=1, le=65535, description="a port from 1 to 65535")]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="64 hex digits, as sha256sum prints them")]


class Model(BaseModel):
    """Strict and frozen: a typo or a wrong type fails when the object is built, before any host is touched."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    if not TYPE_CHECKING:  # the checker sees the fields' own signature

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                wanted = {name: field.description for name, field in type(self).model_fields.items()}
                raise ConfigError(*findings(error, self.path_of(data), wanted)) from None

    @classmethod
    def path_of(cls, data: dict[str, Any]) -> str:
        """Where a user finds this object, from what it was built with: `gateway`, `services.chat`."""
        return cls.__name__.lower()

    def to_json(self) -> dict[str, Any]:
        """What pyinfra prints for this object; secrets are redacted by their own serialiser."""
        return self.model_dump(mode="json")
