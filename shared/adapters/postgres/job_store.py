"""The job rows: claims with a lease, and ends in one transaction with their results.

Every writer takes its locks in one order: the rows of results, the book's status row, the job's row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from shared.adapters.postgres import dead_letter_rows, result_rows, status_rows
from shared.adapters.postgres.database import Connection, Database
from shared.domain import jobs
from shared.domain.errors import LeaseLost, Rejected
from shared.domain.failures import Failure, describe
from shared.domain.jobs import Job, Status
from shared.domain.results import BookSplit, ChaptersEmbedded, Result
from shared.domain.stages import LEASE_SECONDS, MAX_LEASE_EXPIRATIONS, STAGES, JobType
from shared.ports import Claim, ClaimState, Undelivered

_FIND_JOB = "SELECT j.*, b.latest_version FROM jobs j JOIN books b USING (book_id) WHERE job_id = %s"
_LOCK_JOB = f"{_FIND_JOB} FOR UPDATE OF j"

_DELIVERED = "INSERT INTO deliveries (job_id, type, at, state) VALUES (%s, %s, %s, %s)"

# Taking over from a process that died is the same attempt again: it counts apart.
_BEGIN = """
    UPDATE jobs SET state = 'processing', lease = %(lease)s, lease_until = %(until)s,
        attempts = CASE WHEN state = 'processing' THEN attempts ELSE attempts + 1 END,
        abandoned = CASE WHEN state = 'processing' THEN abandoned + 1 ELSE abandoned END,
        failures = CASE WHEN state = 'processing' THEN failures || %(abandonment)s ELSE failures END,
        next_attempt_at = NULL, processed_on = %(now)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s RETURNING attempts, abandoned
"""

_RENEW = "UPDATE jobs SET lease_until = %s WHERE lease = ANY(%s) AND state = 'processing'"

_CANCEL = """
    UPDATE jobs SET state = 'cancelled', lease = NULL, lease_until = NULL, next_attempt_at = NULL,
        finished_on = %(now)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND state NOT IN ('completed', 'failed', 'cancelled')
"""

_IS_HELD = "SELECT 1 FROM jobs WHERE job_id = %s AND lease = %s"

# The lease is a fence: an attempt that was overtaken writes nothing.
_END = """
    UPDATE jobs SET state = %(state)s, lease = NULL, lease_until = NULL, finished_on = %(finished_on)s,
        next_attempt_at = %(next_attempt_at)s, error = %(error)s, result = %(result)s,
        failures = failures || %(failures)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND lease = %(lease)s
"""

_BURY = """
    UPDATE jobs SET state = 'failed', lease = NULL, lease_until = NULL, next_attempt_at = NULL,
        finished_on = %(now)s, error = %(error)s, revision = nextval('revisions'),
        failures = failures || jsonb_build_object('attempt', attempts, 'at', %(now)s::timestamptz) || %(error)s
    WHERE job_id = %(job_id)s AND state IN ('pending', 'processing', 'retrying')
    RETURNING *
"""

_ADD = """
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_by, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (job_id) DO NOTHING
"""

_CHILDREN = "SELECT * FROM jobs WHERE created_by = %s AND state = 'pending' ORDER BY created_at, job_id"
_PUBLISHED = "UPDATE jobs SET published_at = %s WHERE job_id = ANY(%s)"

# Work that nobody will do unless its message is sent again: never published, its lease over, its retry overdue, or
# queued though its queue stands still (no job of its type is worked on, or was taken up of late) or has moved past it
# (one that was made later was taken up; when it was made, no second publication changes). A queue that moves in order
# is left alone, for ten minutes. What is overtaken may still be waiting out a broker's backoff: each time it has been
# sent again it is given as long as it has been there, so that the copies stay few. What was sent longest ago comes
# first, so that a stage that is down keeps no other from being helped.
_STALLED = """
    WITH queues AS MATERIALIZED (  -- else counted anew for every row that waits
        SELECT type,
               (SELECT max(created_at) FROM jobs t WHERE t.type = s.type AND processed_on >= created_at) AS reached,
               NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.type = s.type AND d.at > %(silent)s AND state = 'claimed')
               AND NOT EXISTS (SELECT 1 FROM jobs t WHERE t.type = s.type AND state = 'processing'
                               AND lease_until > %(now)s) AS stands
        FROM unnest(%(types)s::text[]) AS s (type)
    )
    SELECT j.* FROM jobs j JOIN queues q USING (type)
    WHERE state = 'pending' AND published_at IS NULL AND created_at < %(moment)s
       OR state = 'pending' AND published_at < %(silent)s
          AND (stands OR published_at < %(long_ago)s
               OR reached > published_at + greatest(%(reordered)s, published_at - created_at))
       OR state = 'processing' AND lease_until < %(silent)s AND coalesce(published_at, created_at) < %(silent)s
       OR state = 'retrying' AND next_attempt_at < %(silent)s AND coalesce(published_at, created_at) < %(silent)s
    ORDER BY published_at NULLS FIRST, created_at, job_id LIMIT %(limit)s
"""
_MOMENT, _SILENCE, _LONG = timedelta(seconds=5), timedelta(seconds=25), timedelta(minutes=10)
_REORDERED = timedelta(seconds=5)

_DIED = {"error_class": "Abandoned", "message": "its process died, or did not answer for as long as its lease"}


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
            row = connection.execute(_FIND_JOB, (job_id,)).fetchone()
            if row is None:
                return Claim(state=ClaimState.STALE)
            job = to_job(row)
            if _claimable(row, now) in (ClaimState.CLAIMED, ClaimState.STALE):
                # These write: decided again, now that nobody else can.
                status_rows.lock_book(connection, job)
                row = connection.execute(_LOCK_JOB, (job_id,)).fetchone()
            claim = self._take(connection, job, row, now)
            connection.execute(_DELIVERED, (job_id, job.type, now, claim.state))
            return claim

    def _take(self, connection: Connection, job: Job, row: Mapping[str, Any] | None, now: datetime) -> Claim:
        state = _claimable(row, now) if row else ClaimState.STALE
        if state is ClaimState.STALE:
            connection.execute(_CANCEL, {"job_id": job.job_id, "now": now})
        if state is not ClaimState.CLAIMED:
            return Claim(state=state, job=job)
        return self._begin(connection, job, now)

    def _begin(self, connection: Connection, job: Job, now: datetime) -> Claim:
        lease = uuid4()
        begun = {"job_id": job.job_id, "lease": lease, "until": _lease_until(now), "now": now}
        begun["abandonment"] = Jsonb([{"at": now.isoformat(), **_DIED}])
        counts = connection.execute(_BEGIN, begun).fetchone()
        assert counts is not None
        status_rows.refresh_chapters(connection, job.chapter_ids, now, attempt=counts["attempts"])
        if not (job.chapter_ids and status_rows.is_processing(connection, job)):
            # Else it tells nothing new, and counting the chapters is what a long book's claims would cost.
            status_rows.advance_book(connection, job, now, self._tolerated)
        return Claim(
            state=ClaimState.CLAIMED,
            job=job,
            attempt=counts["attempts"],
            lease=lease,
            exhausted=counts["abandoned"] >= MAX_LEASE_EXPIRATIONS,
        )

    def renew(self, leases: Sequence[UUID], now: datetime) -> None:
        with self._database.transaction() as connection:
            connection.execute(_RENEW, (_lease_until(now), list(leases)))

    def commit(self, claim: Claim, result: Result, now: datetime) -> list[Job]:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            if not connection.execute(_IS_HELD, (job.job_id, claim.lease)).fetchone():
                raise LeaseLost(job.job_id)
            result_rows.write(result, connection, job, now)
            _hold_book(connection, job)
            _end(connection, claim, Status.COMPLETED, now, result=_outline(result))
            rejected = result.rejected if isinstance(result, ChaptersEmbedded) else {}
            dead_letter_rows.resolve(connection, job.job_id, now, succeeded=not rejected)
            _record_rejected(connection, job, rejected, now)
            status_rows.refresh_chapters(connection, _chapters_of(job, result), now)
            due = list(result.jobs) if isinstance(result, BookSplit) else []
            due += status_rows.advance_book(connection, job, now, self._tolerated)
            return add_jobs(connection, due, job.job_id, now)

    def schedule_retry(self, claim: Claim, failure: Failure, until: datetime, now: datetime) -> None:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            _hold_book(connection, job)
            _end(connection, claim, Status.RETRYING, now, failure, next_attempt_at=until)
            status_rows.refresh_chapters(
                connection,
                job.chapter_ids,
                now,
                Status.RETRYING,
                error=failure.summary,
                attempt=claim.attempt,
                next_attempt_at=until,
            )
            status_rows.advance_book(connection, job, now, self._tolerated)

    def fail(self, claim: Claim, failure: Failure, now: datetime) -> list[Job]:
        job = _claimed(claim)
        with self._database.transaction() as connection:
            _hold_book(connection, job)
            _end(connection, claim, Status.FAILED, now, failure)
            return self._after_failure(connection, job, failure, now)

    def fail_undelivered(self, job_id: str, failure: Failure, now: datetime) -> Undelivered | None:
        with self._database.transaction() as connection:
            known = connection.execute(_FIND_JOB, (job_id,)).fetchone()
            if known is None:
                return None
            job = to_job(known)
            if not status_rows.lock_book(connection, job):
                connection.execute(_CANCEL, {"job_id": job_id, "now": now})
                return None
            row = {"job_id": job_id, "now": now, "error": Jsonb(failure.summary)}
            if not connection.execute(_BURY, row).rowcount:
                return None
            return Undelivered(job=job, due=self._after_failure(connection, job, failure, now))

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
    ) -> None:
        with self._database.transaction() as connection:
            dead_letter_rows.add_unreadable(connection, topic, payload, failure, key, now)

    def children(self, job_id: str) -> list[Job]:
        with self._database.transaction() as connection:
            return [to_job(r) for r in connection.execute(_CHILDREN, (job_id,))]

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None:
        with self._database.transaction() as connection:
            connection.execute(_PUBLISHED, (now, list(job_ids)))

    def stalled(self, now: datetime, limit: int) -> list[Job]:
        where: dict[str, Any] = {"now": now, "moment": now - _MOMENT, "silent": now - _SILENCE, "limit": limit}
        where |= {"long_ago": now - _LONG, "reordered": _REORDERED, "types": list(STAGES)}
        with self._database.transaction() as connection:
            return [to_job(r) for r in connection.execute(_STALLED, where)]

    def _after_failure(self, connection: Connection, job: Job, failure: Failure, now: datetime) -> list[Job]:
        """The dead letter, the statuses, and the jobs that are due now that this one will never end well."""
        dead_letter_rows.add(connection, job, failure, now)
        status_rows.refresh_chapters(connection, job.chapter_ids, now, Status.FAILED, error=failure.summary)
        due = status_rows.advance_book(connection, job, now, self._tolerated)
        return add_jobs(connection, due, job.job_id, now)


def _lease_until(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_SECONDS)


def _record_rejected(connection: Connection, job: Job, rejected: Mapping[UUID, Rejected], now: datetime) -> None:
    """A chapter that failed alone has a letter of its own, which asks for that chapter alone."""
    for chapter_id, error in rejected.items():
        failure = describe(error)
        alone = jobs.embed_chapters_job(job.book_id, job.version, [chapter_id])
        dead_letter_rows.add(connection, alone, failure, now)
        status_rows.refresh_chapters(connection, [chapter_id], now, Status.FAILED, error=failure.summary)


def _claimable(row: Mapping[str, Any], now: datetime) -> ClaimState:
    state = Status(row["state"])
    if state in (Status.COMPLETED, Status.FAILED):
        return ClaimState.DONE
    if state is Status.CANCELLED or row["version"] < row["latest_version"]:
        return ClaimState.STALE
    if state is Status.PROCESSING and row["lease_until"] > now:
        return ClaimState.BUSY
    if state is Status.RETRYING and row["next_attempt_at"] > now:
        return ClaimState.BUSY
    return ClaimState.CLAIMED


def _claimed(claim: Claim) -> Job:
    assert claim.job is not None
    assert claim.lease is not None
    return claim.job


def _end(
    connection: Connection,
    claim: Claim,
    state: Status,
    now: datetime,
    failure: Failure | None = None,
    *,
    result: dict[str, Any] | None = None,
    next_attempt_at: datetime | None = None,
) -> None:
    job = _claimed(claim)
    failures = [{"attempt": claim.attempt, "at": now.isoformat(), **failure.summary}] if failure else []
    row = {
        "job_id": job.job_id,
        "lease": claim.lease,
        "state": state,
        "finished_on": None if state is Status.RETRYING else now,
        "next_attempt_at": next_attempt_at,
        "error": Jsonb(failure.summary) if failure else None,
        "failures": Jsonb(failures),
        "result": Jsonb(result) if result else None,
    }
    if not connection.execute(_END, row).rowcount:
        raise LeaseLost(job.job_id)


def _hold_book(connection: Connection, job: Job) -> None:
    """Rolls the transaction back if a newer version has taken over meanwhile."""
    if not status_rows.lock_book(connection, job):
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
