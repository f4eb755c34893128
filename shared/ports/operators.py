"""What operators look at, repair and clean up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from shared.domain.dead_letters import DeadLetterFilter, Discarded, Redrive, RedriveRequest
from shared.domain.embeddings import ModelKey
from shared.domain.jobs import Job
from shared.domain.reembeddings import Books
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


class OutdatedBooks(Protocol):
    """Books that are due for another embedding model: complete ones, whose readers see vectors of others."""

    def by_model(self, books: Books, model: ModelKey) -> Sequence[Mapping[str, Any]]:
        """How many each model has: `name, version, books, chapters, characters`, and what has no metadata though no
        model refused it: `unread` chapters in `books_with_unread`."""
        ...

    def some_texts(self, books: Books, model: ModelKey, limit: int, characters: int) -> Sequence[Sequence[str]]:
        """The chapters of at most `limit` of them, drawn by lot; of no more than have so many characters, but one."""
        ...


class Reembeddings(Protocol):
    """Wishes to move books to an embedding model, and the versions that are begun for them."""

    def add(self, books: Books, model: ModelKey, requested_by: str, new_id: UUID, now: datetime) -> UUID:
        """Keep a wish, unless an equal one is open, and return its id. Those for other models are stopped."""
        ...

    def stop(self, now: datetime) -> int:
        """Begin nothing more for the wishes that are open, and return how many those were. What is begun goes on."""
        ...

    def wishes(self, limit: int, reembedding_id: UUID | None = None) -> Sequence[Mapping[str, Any]]:
        """Those that are open first, then the newest; or one. Each with its `books`, and how many of them are `done`,
        `under_way`, `left`, `failed` and `skipped`."""
        ...

    def begin_due(self, model: ModelKey, at_once: int, now: datetime) -> list[Job]:
        """Begin the next version of books that are due by open wishes for this model, so many that `at_once` are under
        way, and return their first jobs. A wish ends when nothing of it is left or under way."""
        ...

    def begin_anew(self, model: ModelKey, limit: int, now: datetime) -> list[Job]:
        """Begin at most `limit` books again that wait for a model which functions have no more, as an attempt found,
        and return their first jobs. They keep their turns."""
        ...
