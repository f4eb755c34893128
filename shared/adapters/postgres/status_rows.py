"""Statuses of books and chapters, written inside the transaction that changed what they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres.breakers import MODEL_OF_TYPE
from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.documents import DOCUMENT_IS_DUE, SHOWN_OF_CHAPTER, chapter_document
from shared.adapters.postgres.webhook_events import add_deliveries
from shared.domain import progress
from shared.domain.books import BookVersion, Status
from shared.domain.contexts import Lack
from shared.domain.error_codes import DISCARDED
from shared.domain.jobs import Job
from shared.domain.progress import Step, VersionCounts
from shared.domain.stages import Dependency
from shared.domain.webhooks import event_of
from shared.ports import Document

# Chapters count from 1; what is pending and what failed have indexes of their own. To count all chapters at the end
# of each would take the square of their number. Who lacks metadata is not waited for any more; whose vectors failed is
# waited for while its metadata is under way.
COUNT_CHAPTERS_BY_WHAT_IS_MISSING = """
    SELECT t.total, f.failed, m.missing - l.lacking AS pending_metadata, v.missing - f.without_vector AS pending_vectors
    FROM (SELECT coalesce(max(chapter_number), 0)::bigint AS total FROM recent_chapters
          WHERE book_id = %(book_id)s AND version = %(version)s) t,
         (SELECT count(*) AS missing FROM recent_chapters
          WHERE book_id = %(book_id)s AND version = %(version)s AND metadata IS NULL) m,
         (SELECT count(*) AS missing FROM recent_chapters
          WHERE book_id = %(book_id)s AND version = %(version)s AND embedding_timestamp IS NULL) v,
         (SELECT count(*) AS lacking FROM processing_status
          WHERE book_id = %(book_id)s AND version = %(version)s AND lacks_metadata IS NOT NULL) l,
         (SELECT count(*) AS failed, count(*) FILTER (WHERE c.embedding_timestamp IS NULL) AS without_vector
          FROM processing_status s JOIN recent_chapters c ON c.chapter_id = s.entity_id
          WHERE s.entity_type = 'chapter' AND s.status = 'failed'
            AND s.book_id = %(book_id)s AND s.version = %(version)s) f
"""

# The jobs that a version has once tell how far it is.
SELECT_STATES_OF_STEPS = """
    SELECT coalesce(jsonb_object_agg(CASE type WHEN 'book-processing' THEN 'split'
                                               WHEN 'book-completion' THEN 'completion'
                                               ELSE data->>'mode' END, state), '{}') AS steps
    FROM jobs
    WHERE book_id = %(book_id)s AND version = %(version)s
      AND type IN ('book-processing', 'book-context-extraction', 'book-completion')
"""

# Attempts under way, and those that wait.
COUNT_ATTEMPTS_AND_CANCELLED = """
    SELECT count(*) FILTER (WHERE state = 'processing') AS running,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           coalesce(max(attempts) FILTER (WHERE state = 'retrying'), 0) AS attempt,
           min(next_attempt_at) FILTER (WHERE state = 'retrying') AS next_attempt_at
    FROM jobs WHERE book_id = %(book_id)s AND version = %(version)s
      AND state IN ('processing', 'retrying', 'cancelled')
"""

# What stays away, and has a job of the version waiting for it.
SELECT_WHAT_IS_WAITED_FOR = f"""
    SELECT d.name AS waiting_for, d.retry_at FROM dependencies d
    WHERE d.opened_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM jobs j WHERE j.book_id = %(book_id)s AND j.version = %(version)s
        AND j.state IN ('pending', 'retrying') AND {MODEL_OF_TYPE} = d.name)
    ORDER BY d.retry_at LIMIT 1
"""

# In one statement, since it is asked whenever a job begins or ends.
COUNT_VERSION = f"""
    SELECT c.*, a.*, t.steps, w.waiting_for, w.retry_at
    FROM ({COUNT_CHAPTERS_BY_WHAT_IS_MISSING}) c, ({COUNT_ATTEMPTS_AND_CANCELLED}) a, ({SELECT_STATES_OF_STEPS}) t
    LEFT JOIN ({SELECT_WHAT_IS_WAITED_FOR}) w ON true
"""

UNDER_WAY = "('pending', 'processing', 'retrying', 'waiting')"
"""The statuses of books that are worked on, or wait to be."""

# Under way, and no job is left; or what it waits for is not what it says.
SELECT_BOOKS_THAT_STAND_STILL = f"""
    SELECT s.book_id, s.version FROM processing_status s
    WHERE s.entity_type = 'book' AND s.status IN {UNDER_WAY}
      AND s.updated_at < %(before)s
      AND (NOT EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = s.book_id AND j.version = s.version
                       AND j.state IN ('pending', 'processing', 'retrying'))
           OR s.status = 'waiting' AND NOT EXISTS (
               SELECT 1 FROM dependencies d WHERE d.name = s.waiting_for AND d.opened_at IS NOT NULL)
           OR s.status <> 'waiting' AND EXISTS (
               SELECT 1 FROM dependencies d WHERE d.opened_at IS NOT NULL AND EXISTS (
                   SELECT 1 FROM jobs j WHERE j.book_id = s.book_id AND j.version = s.version
                   AND j.state IN ('pending', 'retrying') AND {MODEL_OF_TYPE} = d.name))
              AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = s.book_id AND j.version = s.version
                              AND j.state = 'processing'))
    ORDER BY s.updated_at LIMIT %(limit)s
"""
STILL_FOR = timedelta(seconds=10)

# One cancelled job means that all work was called off.
IS_ANY_JOB_CANCELLED = """
    SELECT 1 FROM jobs WHERE book_id = %(book_id)s AND version = %(version)s AND state = 'cancelled' LIMIT 1
"""

# What users see of a book that waits or failed. Discarded errors come last, and are marked. Metadata that failed for
# good fails no chapter and no book.
SELECT_NEWEST_ERROR_THAT_MATTERS = f"""
    SELECT CASE WHEN NOT is_discarded THEN error ELSE jsonb_build_object(
               'error_class', '{DISCARDED}', 'fingerprint', error->>'fingerprint',
               'message', 'discarded, after ' || (error->>'error_class') || ': ' || (error->>'message')) END AS error
    FROM (
        SELECT j.error, j.revision, coalesce(d.state = 'discarded', false) AS is_discarded
        FROM jobs j LEFT JOIN dead_letters d USING (job_id)
        WHERE j.book_id = %(book_id)s AND j.version = %(version)s
          AND (j.state = 'retrying' OR j.state = 'failed' AND j.type <> 'chapter-processing'
               OR j.state = 'pending' AND j.unavailable_since IS NOT NULL)
        UNION ALL
        SELECT s.error, s.revision, EXISTS (
                   SELECT 1 FROM dead_letters d WHERE d.book_id = s.book_id AND d.version = s.version
                   AND d.type = 'embedding-generation'
                   AND d.payload->'chapter_ids' ? s.entity_id::text HAVING bool_and(d.state = 'discarded'))
        FROM processing_status s
        WHERE s.book_id = %(book_id)s AND s.version = %(version)s AND s.entity_type = 'chapter'
          AND s.status = 'failed') e
    WHERE error IS NOT NULL ORDER BY is_discarded, revision DESC LIMIT 1
"""

# Nothing else of the book changed.
UPDATE_ERROR_OF_BOOK_THAT_WAITS_OR_FAILED = """
    UPDATE processing_status SET error = %(error)s, updated_at = %(now)s, revision = nextval('revisions')
    WHERE entity_type = 'book' AND entity_id = %(book_id)s AND status IN ('retrying', 'waiting', 'failed')
"""

# Progress never goes backwards within a version.
UPDATE_BOOK_STATUS = f"""
    UPDATE processing_status s SET
        status = %(status)s, phase = %(phase)s, progress = greatest(progress, %(percent)s),
        attempt = %(attempt)s, next_attempt_at = %(next_attempt_at)s, error = %(error)s, waiting_for = %(waiting_for)s,
        queue_position = NULL, started_at = coalesce(started_at, %(now)s),
        completed_at = CASE WHEN %(status)s IN ('completed', 'failed', 'cancelled')
                       THEN coalesce(completed_at, %(now)s) END,
        updated_at = %(now)s, revision = nextval('revisions')
    WHERE entity_type = 'book' AND entity_id = %(book_id)s
    RETURNING {DOCUMENT_IS_DUE} AS document_is_due, completed_at IS NOT DISTINCT FROM %(now)s AS has_just_ended
"""

# Of its metadata, a chapter may wait for no more than it has.
IS_READ = "(r.metadata IS NOT NULL OR coalesce(%(lacks_metadata)s, old.lacks_metadata) IS NOT NULL)"

# Whether more of a chapter changed than where it is on its way: that, the packed document of its book tells at once.
CAME_TO_SOMETHING = """(
    (new.lacks_metadata, new.error, s.next_attempt_at)
    IS DISTINCT FROM (old.lacks_metadata, old.error, old.next_attempt_at)
    OR new.status <> old.status
       AND NOT (old.status IN ('pending', 'processing') AND new.status IN ('pending', 'processing')))"""

# Half of a chapter's progress is its metadata, half its vectors. What failed stays failed. One that shows the same as
# before is left as it is: it needs no new document. The ids are given thrice: with one, a planner that knows nothing of
# the tables yet goes through all chapters that there are.
UPDATE_CHAPTERS_FROM_WHAT_THEY_HAVE = f"""
    UPDATE processing_status s SET
        lacks_metadata = new.lacks_metadata, status = new.status, phase = new.phase, progress = new.progress,
        error = new.error, attempt = new.attempt, next_attempt_at = %(next_attempt_at)s,
        started_at = coalesce(s.started_at, %(now)s),
        completed_at = CASE WHEN old.status = 'failed' THEN s.completed_at
                            WHEN new.status IN ('completed', 'failed') THEN coalesce(s.completed_at, %(now)s) END,
        updated_at = %(now)s, revision = nextval('revisions')
    FROM processing_status old JOIN recent_chapters r ON r.chapter_id = old.entity_id
    JOIN books b ON b.book_id = old.book_id
    CROSS JOIN LATERAL (
        SELECT coalesce(%(lacks_metadata)s, old.lacks_metadata) AS lacks_metadata,
               CASE WHEN old.status = 'failed' THEN 'failed'
                    WHEN {IS_READ} AND r.embedding_timestamp IS NOT NULL THEN 'completed'
                    ELSE %(status)s END AS status,
               CASE WHEN NOT {IS_READ} THEN 'metadata'
                    WHEN r.embedding_timestamp IS NULL THEN 'embedding' ELSE 'completed' END AS phase,
               greatest(old.progress, CASE WHEN {IS_READ} THEN 50 ELSE 0 END
                                      + CASE WHEN r.embedding_timestamp IS NULL THEN 0 ELSE 50 END) AS progress,
               CASE WHEN old.status = 'failed' THEN old.error ELSE %(error)s END AS error) e
    CROSS JOIN LATERAL (SELECT e.*, CASE e.status WHEN 'completed' THEN 0 ELSE %(attempt)s::int END AS attempt) new
    WHERE old.entity_type = 'chapter' AND old.entity_id = ANY(%(chapter_ids)s)
      AND s.entity_type = 'chapter' AND s.entity_id = old.entity_id AND s.entity_id = ANY(%(chapter_ids)s)
      AND r.chapter_id = ANY(%(chapter_ids)s)
      AND (old.lacks_metadata, old.status, old.phase, old.progress, old.error, old.attempt, old.next_attempt_at)
          IS DISTINCT FROM (new.lacks_metadata, new.status, new.phase, new.progress, new.error, new.attempt,
                            %(next_attempt_at)s::timestamptz)
    RETURNING {SHOWN_OF_CHAPTER}, {CAME_TO_SOMETHING} AS came_to_something
"""

# A redrive asks for what a chapter lacks: it is waited for again.
AWAIT_METADATA_OF_CHAPTERS_THAT_LACK_IT = """
    UPDATE processing_status SET lacks_metadata = NULL, updated_at = %(now)s, revision = nextval('revisions'),
        status = CASE status WHEN 'completed' THEN 'pending' ELSE status END,
        completed_at = CASE status WHEN 'completed' THEN NULL ELSE completed_at END
    WHERE entity_type = 'chapter' AND entity_id = ANY(%(chapter_ids)s) AND lacks_metadata IS NOT NULL
"""

# For what owners and operators do: cancel, resume, redrive.
SET_CHAPTERS_THAT_ARE_IN_STATUS = """
    UPDATE processing_status SET status = %(status)s, error = NULL, attempt = 0, next_attempt_at = NULL,
        completed_at = NULL, updated_at = %(now)s, revision = nextval('revisions')
    WHERE entity_type = 'chapter' AND book_id = %(book_id)s AND version = %(version)s AND status = ANY(%(those)s)
      AND (%(chapter_ids)s::uuid[] IS NULL OR entity_id = ANY(%(chapter_ids)s))
"""


def set_chapters(
    connection: Connection,
    version: BookVersion,
    status: Status,
    now: datetime,
    *,
    those: Sequence[Status],
    chapter_ids: Sequence[UUID] | None = None,
) -> None:
    """Give another status to the version's chapters whose status is one of `those`; all of them, or these."""
    connection.execute(
        SET_CHAPTERS_THAT_ARE_IN_STATUS,
        {
            "book_id": version.book_id,
            "version": version.version,
            "status": status,
            "those": list(those),
            "chapter_ids": None if chapter_ids is None else list(chapter_ids),
            "now": now,
        },
    )


def await_metadata(connection: Connection, chapter_ids: Sequence[UUID], now: datetime) -> None:
    """Wait again for the metadata of chapters that lack it, under the book's lock, which the caller holds."""
    connection.execute(AWAIT_METADATA_OF_CHAPTERS_THAT_LACK_IT, {"chapter_ids": list(chapter_ids), "now": now})


def update_chapters(
    connection: Connection,
    chapter_ids: Sequence[UUID],
    now: datetime,
    status: Status = Status.PROCESSING,
    *,
    lacks_metadata: Lack | None = None,
    error: dict[str, Any] | None = None,
    attempt: int = 0,
    next_attempt_at: datetime | None = None,
) -> list[Document]:
    """Bring the chapters' rows up to date; `status` is for those that are not complete. `lacks_metadata`: from now on,
    and why. `attempt` is for those under way. Returns the documents of those that came to something."""
    if not chapter_ids:
        return []
    row = {
        "chapter_ids": list(chapter_ids),
        "status": status,
        "lacks_metadata": lacks_metadata,
        "error": Jsonb(error) if error else None,
        "attempt": attempt,
        "next_attempt_at": next_attempt_at,
        "now": now,
    }
    changed = connection.execute(UPDATE_CHAPTERS_FROM_WHAT_THEY_HAVE, row)
    return [chapter_document(r) for r in changed if r["came_to_something"]]


def is_cancelled(connection: Connection, version: BookVersion) -> bool:
    """Whether work on the version was called off."""
    return connection.execute(IS_ANY_JOB_CANCELLED, _key(version)).rowcount > 0


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """The jobs that fan-in now allows, whether the book's document may be written again, and whether there are new
    deliveries of webhooks."""

    due: Sequence[Job]
    document_is_due: bool
    announced: bool = False


def advance_book(connection: Connection, version: BookVersion, now: datetime, tolerated: float) -> Advanced:
    """Recompute the book's status under its lock, which the caller holds."""
    counts = _count(connection, version)
    measured = progress.measure(counts, tolerated)
    waits_or_failed = measured.status in (Status.RETRYING, Status.WAITING, Status.FAILED)
    error = _newest_error(connection, version) if waits_or_failed else None
    row = {
        "book_id": version.book_id,
        "status": measured.status,
        "phase": measured.phase,
        "percent": measured.percent,
        "attempt": counts.attempt,
        "next_attempt_at": counts.next_attempt_at,
        "error": Jsonb(error) if error else None,
        "waiting_for": counts.waiting_for if measured.status is Status.WAITING else None,
        "now": now,
    }
    updated = connection.execute(UPDATE_BOOK_STATUS, row).fetchone()
    due = progress.due_jobs(counts, tolerated)
    if updated is None:
        return Advanced(due=due, document_is_due=False)
    event = event_of(measured.status, counts.failed) if updated["has_just_ended"] else None
    announced = event is not None and add_deliveries(connection, event, counts, error, now)
    return Advanced(due=due, document_is_due=updated["document_is_due"], announced=announced)


def still_books(connection: Connection, now: datetime, limit: int) -> list[BookVersion]:
    """List books that stand still and should not, or don't say for what they wait."""
    rows = connection.execute(SELECT_BOOKS_THAT_STAND_STILL, {"before": now - STILL_FOR, "limit": limit})
    return [BookVersion(r["book_id"], r["version"]) for r in rows]


def update_error(connection: Connection, version: BookVersion, now: datetime) -> None:
    """Bring the error that users see of a book up to date, under its lock, which the caller holds."""
    error = _newest_error(connection, version)
    row = {"book_id": version.book_id, "error": Jsonb(error) if error else None, "now": now}
    connection.execute(UPDATE_ERROR_OF_BOOK_THAT_WAITS_OR_FAILED, row)


def _newest_error(connection: Connection, version: BookVersion) -> dict[str, Any] | None:
    row = connection.execute(SELECT_NEWEST_ERROR_THAT_MATTERS, _key(version)).fetchone()
    return row["error"] if row else None


def _count(connection: Connection, version: BookVersion) -> VersionCounts:
    row = connection.execute(COUNT_VERSION, _key(version)).fetchone()
    assert row is not None
    steps = {Step(step): Status(state) for step, state in row.pop("steps").items()}
    retry_at, waiting_for = row.pop("retry_at"), row.pop("waiting_for")
    if waiting_for:
        row |= {"waiting_for": Dependency(waiting_for), "next_attempt_at": retry_at}
    return VersionCounts(version=version, steps=steps, **row)


def _key(version: BookVersion) -> dict[str, Any]:
    return {"book_id": version.book_id, "version": version.version}
