"""Looking up ids by their beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol


class IdentifierKind(StrEnum):
    """What has an id that people type."""

    BOOK = "book"
    JOB = "job"
    REDRIVE = "redrive"
    REPLAY = "replay"
    FINGERPRINT = "fingerprint"


class Identifiers(Protocol):
    def matching(
        self, owner_uid: str | None, kind: IdentifierKind, prefix: str, suffix: str, limit: int
    ) -> Sequence[str]:
        """At most `limit` ids, in their order, that begin and end so, whatever their case; those of the owner's books
        alone, or of all (None)."""
        ...
