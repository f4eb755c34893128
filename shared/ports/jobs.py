"""Jobs, their leases and their permits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from shared.domain.books import BookVersion
from shared.domain.failures import Failure
from shared.domain.jobs import Job
from shared.domain.results import Result
from shared.domain.stages import Dependency, JobType
from shared.ports.live import Document


@dataclass(frozen=True, kw_only=True)
class Change:
    """What live documents are to show of a transaction: those of its job and of the job's chapters. `book_is_due`: the
    book's may be written again, since it shows another phase or status, or was not written for a while."""

    documents: Sequence[Document]
    book_is_due: bool


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job that the caller may work on, until its lease expires or another delivery is given a newer token.

    `attempt` counts from 1; it began at `began`. `exhausted`: its lease expired so often that the job is to blame, and
    no attempt is due. `unavailable_since`: since when its attempts have found a service away.
    """

    job: Job
    attempt: int
    fencing_token: UUID
    began: datetime
    change: Change
    exhausted: bool = False
    unavailable_since: datetime | None = None


class NotClaimed(StrEnum):
    """Why a job was not given to the caller."""

    DONE = "done"
    """It has ended: what comes after it may be published again."""
    BUSY = "busy"
    """Another delivery works on it, its next attempt is not due, or it changed just now: deliver it again later."""
    STALE = "stale"
    """A newer version took over, it was cancelled, or there is no such job: acknowledge it."""
    WAITING = "waiting"
    """It holds no permit: it is published when it is its turn. Acknowledge it."""
    PAUSED = "paused"
    """Its stage is paused: it gave its permit back, and waits. Acknowledge it."""


Claim = Claimed | NotClaimed


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the end of an attempt, or of its job, has changed; and the jobs that became due by it. `announced`: there
    are new deliveries of webhooks."""

    job: Job
    due: Sequence[Job]
    change: Change
    announced: bool = False


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What an attempt found away: a model, or (None) another service. `until` is when to try again, if no breaker says
    otherwise; `retry_after` the seconds that the service asked for, 0 if it did not; `calls` how many were made in
    vain."""

    model: Dependency | None
    until: datetime
    retry_after: float
    calls: int = 1


class Leases(Protocol):
    """Leases of attempts under way. They begin and run out by the database's clock, which all processes share."""

    def renew(self, fencing_tokens: Sequence[UUID]) -> None:
        """Prolong those that are still held. Waits neither for other work of the process, nor for a job's row."""
        ...


class JobStore(Protocol):
    """Jobs and the results that end them."""

    def claim(self, job_id: str, now: datetime) -> Claim:
        """Take the job for one attempt, or say why not."""
        ...

    def commit(self, claim: Claimed, result: Result, now: datetime) -> Ended:
        """Write the result, the end of the job and the jobs that it makes due, in one transaction.

        Raises LeaseLost; not to be repeated after it returned.
        """
        ...

    def schedule_retry(self, claim: Claimed, failure: Failure, until: datetime, now: datetime) -> Ended:
        """End the attempt; another may begin at `until`. Raises LeaseLost."""
        ...

    def wait(self, claim: Claimed, failure: Failure, outage: Outage, now: datetime) -> tuple[bool, Ended]:
        """End an attempt that counts for nothing, since a service was away. Raises LeaseLost.

        Whether the job keeps its permit: its message is to be published again. If not, it waits as a row.
        """
        ...

    def fail(self, claim: Claimed, failure: Failure, now: datetime) -> Ended:
        """End the job for good, with a dead letter. Raises LeaseLost."""
        ...

    def fail_undelivered(self, job_id: str, failure: Failure, now: datetime) -> Ended | None:
        """End a job whose deliveries are exhausted. None if there is no such job, or it ended already."""
        ...

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
    ) -> None:
        """Keep a message that names no job: one dead letter for each key, however often it comes."""
        ...

    def give_permits(self, types: Collection[JobType], now: datetime) -> list[Job]:
        """Give the free permits of these stages to the jobs whose turn it is, and return those jobs, to be published.

        A job keeps its permit until it has ended. Safe to repeat: what has a permit gets no other.
        """
        ...

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None:
        """Note that the broker has the messages of these jobs."""
        ...

    def note_queue(self, book_id: UUID | None = None) -> int:
        """Write where books stand that wait for their first permit: all whose position changed, or one. Return how
        many."""
        ...

    def advance_still_books(self, now: datetime, limit: int) -> list[BookVersion]:
        """Recompute at most `limit` books that stand still: what is due, and for what they wait. Return those."""
        ...

    def stalled(self, now: datetime) -> list[Job]:
        """Jobs that hold a permit and are to be published again: never published, never taken up, lease expired, or
        retry overdue."""
        ...
