"""Jobs, their leases, and the places of stages with a strict cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from shared.domain.failures import Failure
from shared.domain.jobs import Job
from shared.domain.results import Result
from shared.domain.stages import Stage


class ClaimState(StrEnum):
    CLAIMED = "claimed"
    DONE = "done"
    BUSY = "busy"
    STALE = "stale"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`job`, `attempt` (from 1) and `lease` are there if it is claimed; `exhausted` if its process has died
    too often."""

    state: ClaimState
    job: Job | None = None
    attempt: int = 0
    lease: UUID | None = None
    exhausted: bool = False


class ConcurrencyLimiter(Protocol):
    """FakeLimiter for attempts of stages with a strict cap, shared by all processes."""

    def acquire(self, stage: Stage) -> AbstractContextManager[bool]:
        """Holds a place until the end of the block; False if none is free."""
        ...


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """A job that was ended from outside, and those that became due."""

    job: Job
    due: Sequence[Job]


class JobStore(Protocol):
    """Jobs and the results that end them."""

    def claim(self, job_id: str, now: datetime) -> Claim:
        """Takes the job for one attempt, or says why not."""
        ...

    def commit(self, claim: Claim, result: Result, now: datetime) -> list[Job]:
        """Writes the result, the end of the job and the jobs that it makes due, in one transaction.

        Returns the new jobs, to be published. Raises LeaseLost; not to be repeated after it returned.
        """
        ...

    def schedule_retry(self, claim: Claim, failure: Failure, until: datetime, now: datetime) -> None:
        """Ends the attempt; another may begin at `until`. Raises LeaseLost."""
        ...

    def fail(self, claim: Claim, failure: Failure, now: datetime) -> list[Job]:
        """Ends the job for good, with a dead letter. Returns jobs that became due. Raises LeaseLost."""
        ...

    def fail_undelivered(self, job_id: str, failure: Failure, now: datetime) -> Undelivered | None:
        """Ends a job that the broker gave up on. None if there is no such job, or it ended already."""
        ...

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
    ) -> None:
        """Keeps a message that names no job: one dead letter for each key, however often it comes."""
        ...

    def children(self, job_id: str) -> list[Job]:
        """Jobs that this one made and that nobody has begun."""
        ...

    def renew(self, leases: Sequence[UUID], now: datetime) -> None:
        """Prolongs the leases that are still held."""
        ...

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None: ...

    def stalled(self, now: datetime, limit: int) -> list[Job]:
        """Jobs to publish again: never published, lease over, retry overdue, or queued for too long."""
        ...
