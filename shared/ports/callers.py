"""Who is calling."""

from __future__ import annotations

from typing import Protocol

from shared.domain.identity import Caller


class Authenticator(Protocol):
    def authenticate(self, authorization: str | None) -> Caller:
        """Who sent this Authorization header. Raises Unauthenticated."""
        ...


class PushVerifier(Protocol):
    def verify(self, authorization: str | None) -> None:
        """Returns if the broker's own account sent this Authorization header. Raises Unauthenticated."""
        ...
