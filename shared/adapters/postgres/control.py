"""Cancelling, resuming and deleting books."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres import status_rows
from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.imports import check_limit
from shared.adapters.postgres.job_store import add_jobs, to_job
from shared.adapters.postgres.tombstones import add_book_tombstones
from shared.domain import jobs
from shared.domain.errors import InvalidState, Unavailable, UnknownBook
from shared.domain.jobs import Job, Status

_BOOK = """
    SELECT b.book_id, b.owner_uid, b.latest_version AS version, s.status FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.book_id = %s AND (%s::text IS NULL OR b.owner_uid = %s) FOR UPDATE OF s
"""

# Without its lease, an attempt that is under way can write nothing any more.
_CANCEL = """
    UPDATE jobs SET state = 'cancelled', lease = NULL, lease_until = NULL, next_attempt_at = NULL,
        finished_on = %(now)s, revision = nextval('revisions')
    WHERE book_id = %(book_id)s AND version = %(version)s AND state IN ('pending', 'processing', 'retrying')
    RETURNING *
"""
_RESUME = """
    UPDATE jobs SET state = 'pending', attempts = 0, abandoned = 0, error = NULL, finished_on = NULL,
        published_at = NULL, created_at = %(now)s, revision = nextval('revisions')
    WHERE book_id = %(book_id)s AND version = %(version)s AND state = 'cancelled'
    RETURNING *
"""

# The cache holds no text, but what was made of this book's.
_FORGET_VECTORS = """
    DELETE FROM embedding_cache WHERE content_hash IN (
        SELECT sha256(convert_to(k.chunk_text, 'UTF8')) FROM chapter_chunks k
        JOIN recent_chapters r USING (chapter_id) WHERE r.book_id = %s)
"""
_DELETE = "DELETE FROM books WHERE book_id = %s"
_DELETE_DELIVERIES = "DELETE FROM deliveries WHERE job_id IN (SELECT job_id FROM jobs WHERE book_id = %s)"

_UNDER_WAY = (Status.PENDING, Status.PROCESSING, Status.RETRYING)


class PostgresControl:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does; `max_under_way` books of one
    user may be under way at once."""

    def __init__(self, database: Database, tolerated: float, max_under_way: int) -> None:
        self._database = database
        self._tolerated = tolerated
        self._max_under_way = max_under_way

    def cancel(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        with self._database.transaction() as connection:
            book = _lock(connection, owner_uid, book_id)
            if book["status"] == Status.CANCELLED:
                return []
            # Of a book that failed, other chapters may still be worked on. A quick context that is late is left alone:
            # a completed book can't be resumed.
            is_done = book["status"] == Status.COMPLETED
            ended = [] if is_done else [to_job(r) for r in connection.execute(_CANCEL, book | {"now": now})]
            if not ended and book["status"] not in _UNDER_WAY:
                raise InvalidState(f"the book is {book['status']}: there is nothing to cancel")
            job = jobs.process_book_job(book_id, book["version"])
            status_rows.set_chapters(connection, job, Status.CANCELLED, now, those=_UNDER_WAY)
            status_rows.advance_book(connection, job, now, self._tolerated)
            return ended

    def resume(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        with self._database.transaction() as connection:
            book = _lock(connection, owner_uid, book_id)
            if book["status"] != Status.CANCELLED:
                raise InvalidState(f"the book is {book['status']}, not cancelled: there is nothing to resume")
            check_limit(connection, book["owner_uid"], book_id, self._max_under_way)
            begun = [to_job(r) for r in connection.execute(_RESUME, book | {"now": now})]
            job = jobs.process_book_job(book_id, book["version"])
            status_rows.set_chapters(connection, job, Status.PENDING, now, those=[Status.CANCELLED])
            due = status_rows.advance_book(connection, job, now, self._tolerated)
            return begun + add_jobs(connection, due, job.job_id, now)

    def delete(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        with self._database.transaction() as connection:
            # First, so that attempts under way write nothing more: a late one would wait for the rows below.
            book = _lock(connection, owner_uid, book_id)
            connection.execute(_CANCEL, book | {"now": now})
            # If this is as far as it gets, the book is cancelled, and can be resumed.
            status_rows.advance_book(connection, jobs.process_book_job(book_id, book["version"]), now, self._tolerated)
        try:
            self._drop(owner_uid, book_id, now)
        except Unavailable:
            # A deadlock with an attempt that was just writing its result, most likely: no other begins to.
            self._drop(owner_uid, book_id, now)

    def _drop(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        with self._database.transaction() as connection:
            _lock(connection, owner_uid, book_id)
            add_book_tombstones(connection, book_id, now)
            connection.execute(_FORGET_VECTORS, (book_id,))
            connection.execute(_DELETE_DELIVERIES, (book_id,))
            connection.execute(_DELETE, (book_id,))


def _lock(connection: Connection, owner_uid: str | None, book_id: UUID) -> dict[str, Any]:
    row: Mapping[str, Any] | None = connection.execute(_BOOK, (book_id, owner_uid, owner_uid)).fetchone()
    if row is None:
        raise UnknownBook
    return dict(row)
