"""Keys by which machines call the API: `bindery_ID_SECRET`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.domain.identity import Scope

PREFIX = "bindery_"


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without its secret, which is known to who made it alone. `owner_uid`: the user for whom it acts; None is
    any that a request names."""

    key_id: UUID
    name: str
    owner_uid: str | None
    scopes: Collection[Scope]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def write_token(key_id: UUID, secret: str) -> str:
    """What a machine sends."""
    return f"{PREFIX}{key_id.hex}_{secret}"


def read_token(token: str) -> tuple[UUID, bytes] | None:
    """The key's id and the digest of its secret; None if this is no key."""
    key_id, _, secret = token.removeprefix(PREFIX).partition("_")
    try:
        return UUID(hex=key_id), digest(secret)
    except ValueError:
        return None


def digest(secret: str) -> bytes:
    """What is kept of a secret. It is random enough to need neither salt nor stretching."""
    return hashlib.sha256(secret.encode()).digest()
