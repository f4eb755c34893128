"""The job rows: claims with a lease, ends in one transaction with their results, dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from shared.adapters.postgres import results, statuses
from shared.adapters.postgres.database import Connection, Database
from shared.domain.failures import Failure, describe
from shared.domain.jobs import Job, JobState
from shared.domain.results import BookSplit, ChaptersEmbedded, Result
from shared.domain.stages import JobType
from shared.ports import Buried, Claim, ClaimState, LeaseLost

_LOCK_JOB = """
    SELECT j.*, b.latest_version FROM jobs j JOIN books b USING (book_id)
    WHERE job_id = %s FOR UPDATE OF j
"""

_BEGIN = """
    UPDATE jobs SET state = 'processing', attempts = attempts + 1, lease = %(lease)s, lease_until = %(until)s,
        next_attempt_at = NULL, processed_on = %(now)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s
"""

_CANCEL = """
    UPDATE jobs SET state = 'cancelled', lease = NULL, lease_until = NULL, next_attempt_at = NULL,
        finished_on = %(now)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND state NOT IN ('completed', 'failed', 'cancelled')
"""

# The lease is a fence: an attempt that was overtaken writes nothing.
_END = """
    UPDATE jobs SET state = %(state)s, lease = NULL, lease_until = NULL, finished_on = %(finished_on)s,
        next_attempt_at = %(next_attempt_at)s, error = %(error)s, result = %(result)s,
        revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND lease = %(lease)s
"""

_BURY = """
    UPDATE jobs SET state = 'failed', lease = NULL, lease_until = NULL, next_attempt_at = NULL,
        finished_on = %(now)s, error = %(error)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND state IN ('pending', 'processing', 'retrying')
    RETURNING *
"""

_ADD = """
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_by, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (job_id) DO NOTHING
"""

_DEAD_LETTER = """
    INSERT INTO dead_letters (job_id, type, book_id, payload, attempts, error_class, message, traceback,
                              fingerprint, message_id, created_at)
    VALUES (%(job_id)s, %(type)s, %(book_id)s, %(payload)s, %(attempts)s, %(error_class)s, %(message)s,
            %(traceback)s, %(fingerprint)s, %(message_id)s, %(now)s)
    ON CONFLICT (message_id) DO NOTHING
"""

_CHILDREN = "SELECT * FROM jobs WHERE created_by = %s AND state = 'pending' ORDER BY created_at, job_id"
_PUBLISHED = "UPDATE jobs SET published_at = %s WHERE job_id = ANY(%s)"

# Work that nobody will do unless its message is sent again.
_STALLED = """
    SELECT * FROM jobs
    WHERE state = 'pending' AND coalesce(published_at, created_at) < %(queued_before)s
       OR state = 'processing' AND lease_until < %(now)s
          AND coalesce(published_at, created_at) < %(queued_before)s
       OR state = 'retrying' AND next_attempt_at < %(queued_before)s
          AND coalesce(published_at, created_at) < %(queued_before)s
    ORDER BY created_at LIMIT %(limit)s
"""
_QUEUED_TOO_LONG = timedelta(seconds=60)


def to_job(row: Mapping[str, Any]) -> Job:
    return Job(
        job_id=row["job_id"],
        type=JobType(row["type"]),
        book_id=row["book_id"],
        version=row["version"],
        data=row["data"],
    )


def add_jobs(connection: Connection, jobs: Sequence[Job], created_by: str | None, now: datetime) -> list[Job]:
    """Writes the rows that are not there yet, and returns those jobs."""
    added = []
    for job in jobs:
        row = (job.job_id, job.type, job.book_id, job.version, Jsonb(dict(job.data)), job.stage.attempts)
        if connection.execute(_ADD, (*row, created_by, now)).rowcount:
            added.append(job)
    return added


class PostgresJobStore:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does."""

    def __init__(self, database: Database, tolerated: float) -> None:
        self._database = database
        self._tolerated = tolerated

    def claim(self, job_id: str, now: datetime) -> Claim:
        with self._database.transaction() as connection:
            row = connection.execute(_LOCK_JOB, (job_id,)).fetchone()
            if row is None:
                return Claim(state=ClaimState.STALE)
            job = to_job(row)
            state = _claimable(row, now)
            if state is ClaimState.STALE:
                connection.execute(_CANCEL, {"job_id": job_id, "now": now})
            if state is not ClaimState.CLAIMED:
                return Claim(state=state, job=job)
            return self._begin(connection, job, row["attempts"], now)

    def _begin(self, connection: Connection, job: Job, attempts: int, now: datetime) -> Claim:
        lease = uuid4()
        until = now + timedelta(seconds=job.stage.lease_seconds)
        connection.execute(_BEGIN, {"job_id": job.job_id, "lease": lease, "until": until, "now": now})
        attempt = attempts + 1
        statuses.refresh_chapters(connection, job.chapter_ids, now, attempt=attempt)
        if statuses.lock_book(connection, job):
            statuses.refresh_book(connection, job, now, self._tolerated)
        return Claim(
            state=ClaimState.CLAIMED,
            job=job,
            attempt=attempt,
            lease=lease,
            exhausted=attempt > job.stage.attempts,
        )

    def commit(self, claim: Claim, result: Result, now: datetime) -> list[Job]:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            results.write(result, connection, job, now)
            _end(connection, claim, JobState.COMPLETED, now, result=_outline(result))
            if isinstance(result, ChaptersEmbedded):
                self._record_rejected(connection, claim, result, now)
            statuses.refresh_chapters(connection, _chapters_of(job, result), now)
            _hold_book(connection, job)
            due = list(result.jobs) if isinstance(result, BookSplit) else []
            due += statuses.refresh_book(connection, job, now, self._tolerated)
            return add_jobs(connection, due, job.job_id, now)

    def postpone(self, claim: Claim, failure: Failure, until: datetime, now: datetime) -> None:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            _end(connection, claim, JobState.RETRYING, now, error=failure.summary, next_attempt_at=until)
            statuses.refresh_chapters(
                connection,
                job.chapter_ids,
                now,
                JobState.RETRYING,
                error=failure.summary,
                attempt=claim.attempt,
                next_attempt_at=until,
            )
            _hold_book(connection, job)
            statuses.refresh_book(connection, job, now, self._tolerated, failure.summary)

    def fail(self, claim: Claim, failure: Failure, now: datetime) -> list[Job]:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            _end(connection, claim, JobState.FAILED, now, error=failure.summary)
            return self._after_failure(connection, job, failure, claim.attempt, None, now)

    def bury(self, job_id: str, failure: Failure, message_id: str, now: datetime) -> Buried | None:
        with self._database.transaction() as connection:
            row = connection.execute(_BURY, {"job_id": job_id, "now": now, "error": Jsonb(failure.summary)}).fetchone()
            if row is None:
                return None
            job = to_job(row)
            due = self._after_failure(connection, job, failure, row["attempts"], message_id, now)
            return Buried(job=job, due=due)

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, message_id: str, now: datetime
    ) -> None:
        row = {"job_id": None, "type": topic, "book_id": None, "payload": Jsonb(dict(payload)), "attempts": 0}
        with self._database.transaction() as connection:
            connection.execute(_DEAD_LETTER, row | vars(failure) | {"message_id": message_id, "now": now})

    def children(self, job_id: str) -> list[Job]:
        with self._database.transaction() as connection:
            return [to_job(r) for r in connection.execute(_CHILDREN, (job_id,))]

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None:
        with self._database.transaction() as connection:
            connection.execute(_PUBLISHED, (now, list(job_ids)))

    def stalled(self, now: datetime, limit: int) -> list[Job]:
        where = {"now": now, "queued_before": now - _QUEUED_TOO_LONG, "limit": limit}
        with self._database.transaction() as connection:
            return [to_job(r) for r in connection.execute(_STALLED, where)]

    def _after_failure(
        self,
        connection: Connection,
        job: Job,
        failure: Failure,
        attempts: int,
        message_id: str | None,
        now: datetime,
    ) -> list[Job]:
        """The dead letter, the statuses, and the jobs that are due now that this one will never end well."""
        _add_dead_letter(connection, job, failure, attempts, message_id, now)
        statuses.refresh_chapters(connection, job.chapter_ids, now, JobState.FAILED, error=failure.summary)
        _hold_book(connection, job)
        due = statuses.refresh_book(connection, job, now, self._tolerated, failure.summary)
        return add_jobs(connection, due, job.job_id, now)

    def _record_rejected(self, connection: Connection, claim: Claim, result: ChaptersEmbedded, now: datetime) -> None:
        job = _claimed(claim)
        for chapter_id, error in result.rejected.items():
            failure = describe(error)
            _add_dead_letter(connection, job, failure, claim.attempt, None, now)
            statuses.refresh_chapters(connection, [chapter_id], now, JobState.FAILED, error=failure.summary)


def _claimable(row: Mapping[str, Any], now: datetime) -> ClaimState:
    state = JobState(row["state"])
    if state in (JobState.COMPLETED, JobState.FAILED):
        return ClaimState.DONE
    if state is JobState.CANCELLED or row["version"] < row["latest_version"]:
        return ClaimState.STALE
    if state is JobState.PROCESSING and row["lease_until"] > now:
        return ClaimState.BUSY
    if state is JobState.RETRYING and row["next_attempt_at"] > now:
        return ClaimState.BUSY
    return ClaimState.CLAIMED


def _claimed(claim: Claim) -> Job:
    assert claim.job is not None
    assert claim.lease is not None
    return claim.job


def _end(
    connection: Connection,
    claim: Claim,
    state: JobState,
    now: datetime,
    *,
    error: dict[str, Any] | None = None,
    result: dict[str, Any] | None = None,
    next_attempt_at: datetime | None = None,
) -> None:
    job = _claimed(claim)
    row = {
        "job_id": job.job_id,
        "lease": claim.lease,
        "state": state,
        "finished_on": None if state is JobState.RETRYING else now,
        "next_attempt_at": next_attempt_at,
        "error": Jsonb(error) if error else None,
        "result": Jsonb(result) if result else None,
    }
    if not connection.execute(_END, row).rowcount:
        raise LeaseLost(job.job_id)


def _hold_book(connection: Connection, job: Job) -> None:
    """Rolls the transaction back if a newer version has taken over meanwhile."""
    if not statuses.lock_book(connection, job):
        raise LeaseLost(job.job_id)


def _chapters_of(job: Job, result: Result) -> list[UUID]:
    if isinstance(result, BookSplit):
        return [c.chapter_id for c in result.chapters if c.same_as is not None]
    return list(job.chapter_ids)


def _outline(result: Result) -> dict[str, Any]:
    """What the job's `result` says: counts, no text."""
    if isinstance(result, BookSplit):
        reused = sum(c.same_as is not None for c in result.chapters)
        return {"chapters": len(result.chapters), "reused": reused, "split_method": result.method}
    if isinstance(result, ChaptersEmbedded):
        chunks = sum(len(c.chunks) for c in result.chapters)
        return {"chapters": len(result.chapters), "chunks": chunks, "rejected": len(result.rejected)}
    return {"ok": True}


def _add_dead_letter(
    connection: Connection, job: Job, failure: Failure, attempts: int, message_id: str | None, now: datetime
) -> None:
    row = {"job_id": job.job_id, "type": job.type, "book_id": job.book_id, "payload": Jsonb(job.message)}
    row |= {"attempts": attempts, "message_id": message_id, "now": now}
    connection.execute(_DEAD_LETTER, row | vars(failure))
