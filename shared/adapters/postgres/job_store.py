"""Ends jobs in one transaction with their results. `locks` has the order of the locks, `claims` how they begin."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres import dead_letter_rows, result_rows, status_rows
from shared.adapters.postgres.claims import CANCEL_JOB_UNLESS_ENDED, claim
from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.documents import job_document
from shared.adapters.postgres.job_rows import WAITS_AGAIN, add_jobs, to_job
from shared.adapters.postgres.locks import lock_book
from shared.adapters.postgres.outages import note_answer, note_outage, undo_attempt
from shared.adapters.postgres.permits import give_permits, waiting_types
from shared.adapters.postgres.queue_positions import note_queue
from shared.adapters.postgres.stalled_jobs import stalled_jobs
from shared.domain import jobs
from shared.domain.books import BookVersion, Status
from shared.domain.contexts import Lack
from shared.domain.errors import LeaseLost, Rejected
from shared.domain.failures import Failure, describe
from shared.domain.jobs import Job
from shared.domain.results import (
    BookSplit,
    ChaptersEmbedded,
    ChaptersProcessed,
    ContextExtracted,
    ContextKept,
    QuickContextBlocked,
    Result,
)
from shared.domain.stages import JobType
from shared.ports import Change, Claim, Claimed, Document, Ended, Outage

# Asked before results are written, so that an attempt that was overtaken stops early. Neither a deletion nor retention
# touches the rows of its results from here on.
IS_TOKEN_CURRENT = """
    SELECT 1 FROM jobs j JOIN books b USING (book_id) JOIN book_versions v USING (book_id, version)
    WHERE j.job_id = %s AND j.lease = %s FOR KEY SHARE OF b FOR KEY SHARE OF v
"""

# The fencing token decides: an attempt that was overtaken writes nothing. A job that has ended gives its permit back.
# Who ends it has the book's lock, so that no dead letter of it comes meanwhile.
END_ATTEMPT_IF_TOKEN_IS_CURRENT = """
    UPDATE jobs SET state = %(state)s, lease = NULL, lease_until = NULL, finished_on = %(finished_on)s,
        permitted_at = CASE WHEN %(finished_on)s::timestamptz IS NULL THEN permitted_at END,
        next_attempt_at = %(next_attempt_at)s, error = %(error)s, result = %(result)s, unavailable_since = NULL,
        failures = failures || %(failures)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND lease = %(fencing_token)s
    RETURNING *, EXISTS (SELECT 1 FROM dead_letters d WHERE d.job_id = jobs.job_id) AS has_dead_letter,
        EXISTS (SELECT 1 FROM dependencies WHERE name = %(model)s AND failures > 0) AS model_failed
"""

SELECT_JOB = "SELECT * FROM jobs WHERE job_id = %s"

# The broker gave up the message of a job that waits for a service: another is sent.
WAIT_AGAIN_IF_UNAVAILABLE = f"""
    UPDATE jobs SET {WAITS_AGAIN}
    WHERE job_id = %s AND state = 'retrying' AND unavailable_since IS NOT NULL RETURNING *
"""

# For a job whose deliveries are exhausted: without a token, since no attempt of its own may still be there to end it.
FAIL_JOB_UNLESS_ENDED = """
    UPDATE jobs SET state = 'failed', lease = NULL, lease_until = NULL, next_attempt_at = NULL, permitted_at = NULL,
        finished_on = %(now)s, error = %(error)s, revision = nextval('revisions'),
        failures = failures || jsonb_build_object('attempt', attempts, 'at', %(now)s::timestamptz) || %(error)s
    WHERE job_id = %(job_id)s AND state IN ('pending', 'processing', 'retrying')
    RETURNING *
"""

# What was published is not stalled for a while.
MARK_PUBLISHED = """
    UPDATE jobs SET published_at = %s WHERE job_id IN (
        SELECT job_id FROM jobs WHERE job_id = ANY(%s) ORDER BY job_id FOR NO KEY UPDATE)
"""


class PostgresJobStore:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does; `caps` says how many jobs of
    a stage may hold a permit at once."""

    def __init__(self, database: Database, tolerated: float, caps: Mapping[JobType, int]) -> None:
        self._database = database
        self._tolerated = tolerated
        self._caps = caps

    def claim(self, job_id: str, now: datetime) -> Claim:
        with self._database.transaction() as connection:
            return claim(connection, job_id, now, self._tolerated)

    def commit(self, claim: Claimed, result: Result, now: datetime) -> Ended:
        job = claim.job
        with self._database.transaction() as connection:
            if not connection.execute(IS_TOKEN_CURRENT, (job.job_id, claim.fencing_token)).fetchone():
                raise LeaseLost(job.job_id)
            result_rows.write(result, connection, job, now)
            _lock_latest_version(connection, job)
            ended = _end_attempt(connection, claim, Status.COMPLETED, now, result=_outline(result))
            rejected = result.rejected if isinstance(result, ChaptersEmbedded) else {}
            if ended["has_dead_letter"] or rejected:
                dead_letter_rows.lock(connection, [job.job_id, *(_alone(job, c).job_id for c in rejected)])
                dead_letter_rows.resolve(connection, job.job_id, now, succeeded=not rejected)
                _record_rejected(connection, job, rejected, now)
            shown = _update_chapters(connection, job, result, now)
            committed = self._advance_ended(connection, ended, shown, _due_by(job, result), now)
            if ended["model_failed"]:
                note_answer(connection, claim)
            return committed

    def schedule_retry(self, claim: Claimed, failure: Failure, until: datetime, now: datetime) -> Ended:
        job = claim.job
        with self._database.transaction() as connection:
            _lock_latest_version(connection, job)
            ended = _end_attempt(connection, claim, Status.RETRYING, now, failure, next_attempt_at=until)
            chapters = status_rows.update_chapters(
                connection,
                job.chapter_ids,
                now,
                Status.RETRYING,
                error=failure.summary,
                attempt=claim.attempt,
                next_attempt_at=until,
            )
            return self._advance_ended(connection, ended, chapters, [], now)

    def wait(self, claim: Claimed, failure: Failure, outage: Outage, now: datetime) -> tuple[bool, Ended]:
        job = claim.job
        with self._database.transaction() as connection:
            _lock_latest_version(connection, job)
            until: datetime | None = outage.until
            if outage.model:
                until = note_outage(connection, claim, outage.model, outage, now)
            ended = undo_attempt(connection, claim, failure, until, now)
            state = Status.RETRYING if until else Status.PENDING
            chapters = status_rows.update_chapters(
                connection, job.chapter_ids, now, state, error=failure.summary, next_attempt_at=until
            )
            return until is not None, self._advance_ended(connection, ended, chapters, [], now)

    def fail(self, claim: Claimed, failure: Failure, now: datetime) -> Ended:
        with self._database.transaction() as connection:
            _lock_latest_version(connection, claim.job)
            ended = _end_attempt(connection, claim, Status.FAILED, now, failure)
            return self._record_failure(connection, ended, failure, now)

    def fail_undelivered(self, job_id: str, failure: Failure, now: datetime) -> Ended | None:
        with self._database.transaction() as connection:
            known = connection.execute(SELECT_JOB, (job_id,)).fetchone()
            if known is None:
                return None
            if not lock_book(connection, to_job(known).book_version):
                connection.execute(CANCEL_JOB_UNLESS_ENDED, {"job_id": job_id, "now": now})
                return None
            if waits := connection.execute(WAIT_AGAIN_IF_UNAVAILABLE, (job_id,)).fetchone():
                change = Change(documents=[job_document(waits)], book_is_due=False)
                return Ended(job=to_job(waits), due=[], change=change)
            row = {"job_id": job_id, "now": now, "error": Jsonb(failure.summary)}
            ended = connection.execute(FAIL_JOB_UNLESS_ENDED, row).fetchone()
            return self._record_failure(connection, ended, failure, now) if ended else None

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
    ) -> None:
        with self._database.transaction() as connection:
            dead_letter_rows.add_unreadable(connection, topic, payload, failure, key, now)

    def give_permits(self, types: Collection[JobType], now: datetime) -> list[Job]:
        # A job that comes later is published by whoever adds it.
        with self._database.statements() as connection:
            waiting = waiting_types(connection, types)
        if not waiting:
            return []
        with self._database.transaction() as connection:
            return give_permits(connection, waiting, self._caps, now)

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None:
        with self._database.statements() as connection:
            connection.execute(MARK_PUBLISHED, (now, list(job_ids)))

    def note_queue(self, book_id: UUID | None = None) -> int:
        with self._database.statements() as connection:
            return note_queue(connection, book_id)

    def advance_still_books(self, now: datetime, limit: int) -> list[BookVersion]:
        with self._database.statements() as connection:
            still = status_rows.still_books(connection, now, limit)
        return [version for version in still if self._advance(version, now)]

    def _advance(self, version: BookVersion, now: datetime) -> bool:
        with self._database.transaction() as connection:
            if not lock_book(connection, version):
                return False
            advanced = status_rows.advance_book(connection, version, now, self._tolerated)
            add_jobs(connection, advanced.due, jobs.process_book_job(version).job_id, now)
            return True

    def stalled(self, now: datetime) -> list[Job]:
        with self._database.statements() as connection:
            return stalled_jobs(connection, now)

    def _record_failure(
        self, connection: Connection, ended: Mapping[str, Any], failure: Failure, now: datetime
    ) -> Ended:
        """Write the dead letter and the statuses, and what is due now that this job will never succeed."""
        job = to_job(ended)
        dead_letter_rows.add(connection, job, failure, now)
        if job.type is JobType.CHAPTER_PROCESSING:
            # It is complete without metadata: no vector is missing by that.
            chapters = status_rows.update_chapters(connection, job.chapter_ids, now, lacks_metadata=Lack.FAILED)
        else:
            chapters = status_rows.update_chapters(
                connection, job.chapter_ids, now, Status.FAILED, error=failure.summary
            )
        return self._advance_ended(connection, ended, chapters, [], now)

    def _advance_ended(
        self,
        connection: Connection,
        ended: Mapping[str, Any],
        chapters: Sequence[Document],
        due: Sequence[Job],
        now: datetime,
    ) -> Ended:
        """Bring the book up to date with the row of a job whose attempt has ended; add what is due, and what comes of
        that."""
        job = to_job(ended)
        advanced = status_rows.advance_book(connection, job.book_version, now, self._tolerated)
        return Ended(
            job=job,
            due=add_jobs(connection, [*due, *advanced.due], job.job_id, now, job.trace_context),
            change=Change(documents=[job_document(ended), *chapters], book_is_due=advanced.document_is_due),
            announced=advanced.announced,
        )


def _record_rejected(connection: Connection, job: Job, rejected: Mapping[UUID, Rejected], now: datetime) -> None:
    """Give a chapter that failed alone a dead letter of its own, which asks for that chapter alone."""
    for chapter_id, error in rejected.items():
        failure = describe(error)
        dead_letter_rows.add(connection, _alone(job, chapter_id), failure, now)
        status_rows.update_chapters(connection, [chapter_id], now, Status.FAILED, error=failure.summary)


def _alone(job: Job, chapter_id: UUID) -> Job:
    """The job that does again one chapter of a group."""
    return jobs.embed_chapters_job(job.book_version, [chapter_id])


def _end_attempt(
    connection: Connection,
    claim: Claimed,
    state: Status,
    now: datetime,
    failure: Failure | None = None,
    *,
    result: dict[str, Any] | None = None,
    next_attempt_at: datetime | None = None,
) -> Mapping[str, Any]:
    """End it, and return the job's row."""
    failures = [{"attempt": claim.attempt, "at": now.isoformat(), **failure.summary}] if failure else []
    row = {
        "job_id": claim.job.job_id,
        "fencing_token": claim.fencing_token,
        "state": state,
        "finished_on": None if state is Status.RETRYING else now,
        "next_attempt_at": next_attempt_at,
        "error": Jsonb(failure.summary) if failure else None,
        "failures": Jsonb(failures),
        "result": Jsonb(result) if result else None,
        "model": claim.job.stage.model,
    }
    ended = connection.execute(END_ATTEMPT_IF_TOKEN_IS_CURRENT, row).fetchone()
    if ended is None:
        raise LeaseLost(claim.job.job_id)
    # What becomes due by it is a part of this attempt's trace.
    return {**ended, "trace_context": claim.job.trace_context}


def _lock_latest_version(connection: Connection, job: Job) -> None:
    """Roll the transaction back if a newer version has taken over meanwhile."""
    if not lock_book(connection, job.book_version):
        raise LeaseLost(job.job_id)


def _update_chapters(connection: Connection, job: Job, result: Result, now: datetime) -> list[Document]:
    """Bring the rows of the chapters up to date, and return the documents that are to be shown with the job's."""
    if isinstance(result, BookSplit):
        # What is left of a chapter that is reused in part waits for its turn. All are written with their book.
        reused = [c.chapter_id for c in result.chapters if c.metadata_of or c.vectors_of]
        status_rows.update_chapters(connection, reused, now, Status.PENDING)
        return []
    # What is left of the others is under way, or about to be: its first attempt, as far as is known.
    if isinstance(result, ChaptersProcessed):
        blocked, alone = list(result.blocked), list(result.alone)
        return [
            *status_rows.update_chapters(connection, list(result.metadata), now, attempt=1),
            *status_rows.update_chapters(connection, blocked, now, lacks_metadata=Lack.BLOCKED, attempt=1),
            *status_rows.update_chapters(connection, alone, now, Status.PENDING),
        ]
    return status_rows.update_chapters(connection, job.chapter_ids, now, attempt=1)


def _due_by(job: Job, result: Result) -> list[Job]:
    """The jobs that this result asks for."""
    if isinstance(result, BookSplit):
        return list(result.jobs)
    if isinstance(result, ChaptersProcessed):
        return [jobs.process_chapters_job(job.book_version, [chapter_id]) for chapter_id in result.alone]
    return []


def _outline(result: Result) -> dict[str, Any]:
    """What the job's `result` says: counts, no text."""
    if isinstance(result, BookSplit):
        metadata = sum(c.metadata_of is not None for c in result.chapters)
        vectors = sum(c.vectors_of is not None for c in result.chapters)
        counts = {"chapters": len(result.chapters), "reused_metadata": metadata, "reused_vectors": vectors}
        return counts | {"split_method": result.method}
    if isinstance(result, ChaptersEmbedded):
        chunks = sum(len(c.chunks) for c in result.chapters)
        return {"chapters": len(result.chapters), "chunks": chunks, "rejected": len(result.rejected)}
    if isinstance(result, QuickContextBlocked):
        return {"blocked": result.reason}
    if isinstance(result, ChaptersProcessed):
        counts = {"chapters": len(result.metadata), "alone": len(result.alone)}
        return counts | {"blocked": sorted(set(result.blocked.values()))}
    if isinstance(result, ContextKept):
        return {"ok": True, "kept": True}
    if isinstance(result, ContextExtracted) and result.reduced_because:
        return {"ok": True, "reduced_because": result.reduced_because}
    return {"ok": True}
