"""Dead letters: jobs that failed for good, and messages that could not be read; and redrives of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.domain.jobs import Job

# A message that failed so often after having been redriven will not get better by itself.
MAX_REDRIVES = 5


class DeadLetterState(StrEnum):
    OPEN = "open"
    REDRIVEN = "redriven"
    RESOLVED = "resolved"
    DISCARDED = "discarded"


@dataclass(frozen=True, kw_only=True)
class DeadLetterFilter:
    """A choice of dead letters; what is None does not narrow it. `owner_uid`: those of this user's books alone.

    `since` and `until` bound when they were last seen.
    """

    owner_uid: str | None = None
    ids: Sequence[int] | None = None
    stage: str | None = None
    book_id: UUID | None = None
    fingerprint: str | None = None
    state: DeadLetterState | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RedriveRequest:
    """`canary`: one first, the others only if it succeeds. `per_minute` bounds how fast they are sent."""

    chosen: DeadLetterFilter
    requested_by: str
    canary: bool = False
    per_minute: int = 300


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a dead letter is not redriven."""

    dead_letter_id: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Redrive:
    """`accepted` are sent now, or later at the batch's rate."""

    batch_id: UUID
    accepted: Sequence[int]
    refused: Sequence[Refusal]


@dataclass(frozen=True, kw_only=True)
class Discarded:
    """How many dead letters were discarded, and the jobs that they name."""

    dead_letters: int
    jobs: Sequence[Job]
