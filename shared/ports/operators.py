"""What operators look at, repair and clean up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from shared.domain.dead_letters import DeadLetterFilter, Discarded, Redrive, RedriveRequest
from shared.domain.jobs import Job
from shared.domain.stages import JobType


class DeadLetters(Protocol):
    def page(self, chosen: DeadLetterFilter, after: int | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest first; `after` is the last id of the page before."""
        ...

    def groups(self, chosen: DeadLetterFilter, limit: int) -> Sequence[Mapping[str, Any]]:
        """By fingerprint, the largest group first."""
        ...

    def actions(self, dead_letter_id: int) -> Sequence[Mapping[str, Any]]:
        """What was done about a dead letter: who, when, and with what outcome."""
        ...

    def discard(
        self, chosen: DeadLetterFilter, requested_by: str, reason: str, batch_id: UUID, now: datetime
    ) -> Discarded:
        """Discard the open ones among those chosen. A book that failed by them stays failed; its error says that the
        cause was discarded."""
        ...


class Redrives(Protocol):
    """The queue of redrives: dead letters that are to be tried again, each batch at its own rate."""

    def add(self, request: RedriveRequest, batch_id: UUID, now: datetime) -> Redrive:
        """Queue the open dead letters among those chosen; `release` sends them when they are due."""
        ...

    def add_passing(self, batch_id: UUID, now: datetime, limit: int) -> int:
        """Queue at most `limit` dead letters of jobs that failed since a service was away, when it is not so any more.

        Returns how many. One that fails again and again is queued ever more rarely.
        """
        ...

    def batch(self, owner_uid: str | None, batch_id: UUID) -> Mapping[str, Any] | None:
        """When it was asked for, at what rate, and how many of its dead letters, of this user's books alone, are at
        each outcome. None if there are none."""
        ...

    def stop(self, owner_uid: str | None, batch_id: UUID, reason: str, now: datetime) -> int:
        """Send no more of the batch, and return how many that were: they stay open."""
        ...

    def release(self, now: datetime, limit: int) -> list[Job]:
        """Make those jobs pending that are due, and return them with what else became due."""
        ...


class Retention(Protocol):
    def drop(self, now: datetime, limit: int) -> Mapping[str, int]:
        """Drop rows that are past their retention, and return how many of each kind; `limit` bounds one transaction.

        What one run leaves over is dropped by the next.
        """
        ...


class Replays(Protocol):
    """Receipts of replays."""

    def count(self, topic: JobType, since: datetime | None, book_id: UUID | None) -> int:
        """How many ended jobs were published since then, or belong to the book."""
        ...

    def jobs(self, topic: JobType, book_id: UUID) -> list[Job]:
        """The book's jobs of that type, of its latest version."""
        ...

    def begin(
        self,
        replay_id: UUID,
        topic: JobType,
        source: Mapping[str, Any],
        requested_by: str,
        book_id: UUID | None,
        now: datetime,
    ) -> None:
        """Write down what has ended by now, so that the receipt can tell what the replay changed of it."""
        ...

    def receipt(self, replay_id: UUID) -> Mapping[str, Any] | None:
        """Its counts so far."""
        ...
