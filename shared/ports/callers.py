"""Authenticates those who call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.domain.api_keys import ApiKey
from shared.domain.identity import Caller


class Authenticator(Protocol):
    def authenticate(self, authorization: str | None) -> Caller:
        """Return who sent this Authorization header. Raises Unauthenticated."""
        ...


class PushVerifier(Protocol):
    def verify(self, authorization: str | None) -> None:
        """Return if the broker's own account sent this Authorization header. Raises Unauthenticated."""
        ...


class ApiKeys(Protocol):
    """Keys of machines. `uid` None stands for an administrator."""

    def add(self, key: ApiKey, digest: bytes) -> None:
        """Keep a key, and the digest of its secret."""
        ...

    def find(self, key_id: UUID) -> tuple[ApiKey, bytes] | None:
        """The key, and the digest of its secret, whether or not it is valid."""
        ...

    def made_by(self, uid: str | None) -> Sequence[ApiKey]:
        """The newest first."""
        ...

    def note_use(self, key_id: UUID, now: datetime) -> None: ...

    def revoke(self, key_id: UUID, uid: str | None, now: datetime) -> bool:
        """Whether there is such a key, made by this user."""
        ...
