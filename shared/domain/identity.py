"""The caller of the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A user who has proved who they are."""

    uid: str
    admin: bool = False
