"""Authenticates those who call."""

from __future__ import annotations

from typing import Protocol

from shared.domain.identity import Caller


class Authenticator(Protocol):
    def authenticate(self, authorization: str | None) -> Caller:
        """Return who sent this Authorization header. Raises Unauthenticated."""
        ...


class PushVerifier(Protocol):
    def verify(self, authorization: str | None) -> None:
        """Return if the broker's own account sent this Authorization header. Raises Unauthenticated."""
        ...
