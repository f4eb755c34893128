"""The caller of the API, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    """What a key may be used for."""

    READ = "read"
    """Whatever changes nothing."""
    WRITE = "write"
    """Imports, and what owners do with their books."""
    ADMIN = "admin"
    """What administrators do."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A user who has proved who they are; or whom a key acts for, within its scopes."""

    uid: str
    admin: bool = False
    key_id: UUID | None = None
    scopes: frozenset[Scope] = frozenset(Scope)
