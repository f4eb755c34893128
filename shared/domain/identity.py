"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.errors import BinderyError


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A user who has proved who they are."""

    uid: str
    admin: bool = False


class Unauthenticated(BinderyError):
    """The caller did not prove who they are. The message leaks nothing about accounts or keys."""
