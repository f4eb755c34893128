"""Cancels, resumes, deletes and shares books in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from shared.adapters.postgres import status_rows
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.job_rows import CANCELLED, add_jobs, to_job
from shared.adapters.postgres.locks import lock_book_of_owner, lock_rows_of_book
from shared.adapters.postgres.tombstones import add_book_tombstones
from shared.domain.books import BookVersion, Status
from shared.domain.errors import InvalidState, Unavailable, UnknownBook
from shared.domain.jobs import Job, process_book_job

# Without its fencing token, an attempt that is under way can write nothing any more.
CANCEL_JOBS_UNLESS_ENDED = f"""
    UPDATE jobs SET {CANCELLED}
    WHERE job_id IN (
        SELECT job_id FROM jobs
        WHERE book_id = %(book_id)s AND version = %(version)s AND state IN ('pending', 'processing', 'retrying')
        ORDER BY job_id FOR NO KEY UPDATE)
    RETURNING *
"""

# As if it had never been tried.
RESUME_JOBS_THAT_ARE_CANCELLED = """
    UPDATE jobs SET state = 'pending', attempts = 0, abandoned = 0, error = NULL, finished_on = NULL,
        unavailable_since = NULL, published_at = NULL, created_at = %(now)s, revision = nextval('revisions')
    WHERE job_id IN (
        SELECT job_id FROM jobs WHERE book_id = %(book_id)s AND version = %(version)s AND state = 'cancelled'
        ORDER BY job_id FOR NO KEY UPDATE)
    RETURNING *
"""

# All that belongs to it goes with it: vectors and answers, too. What an attempt keeps late finds no book.
DELETE_BOOK = "DELETE FROM books WHERE book_id = %s"

# These refer to jobs by name alone.
DELETE_DELIVERIES_OF_BOOK = "DELETE FROM deliveries WHERE job_id IN (SELECT job_id FROM jobs WHERE book_id = %s)"

SET_READERS_OF_BOOK_OF_OWNER = """
    UPDATE books SET readers = %(readers)s
    WHERE book_id = %(book_id)s AND (%(owner)s::text IS NULL OR owner_uid = %(owner)s)
"""

# The book's documents name its readers.
CHANGE_REVISION_OF_BOOK = """
    UPDATE processing_status SET updated_at = %(now)s, revision = nextval('revisions')
    WHERE entity_type = 'book' AND entity_id = %(book_id)s
"""

_UNDER_WAY = (Status.PENDING, Status.PROCESSING, Status.RETRYING)


class PostgresControl:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does."""

    def __init__(self, database: Database, tolerated: float) -> None:
        self._database = database
        self._tolerated = tolerated

    def cancel(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        with self._database.transaction() as connection:
            book = lock_book_of_owner(connection, owner_uid, book_id)
            if book["status"] == Status.CANCELLED:
                return []
            # Of a book that failed, other chapters may still be worked on. A quick context that is late is left alone:
            # a completed book can't be resumed.
            is_done = book["status"] == Status.COMPLETED
            ended = (
                []
                if is_done
                else [to_job(r) for r in connection.execute(CANCEL_JOBS_UNLESS_ENDED, book | {"now": now})]
            )
            if not ended and book["status"] not in _UNDER_WAY:
                raise InvalidState(f"the book is {book['status']}: there is nothing to cancel")
            version = BookVersion(book_id, book["version"])
            status_rows.set_chapters(connection, version, Status.CANCELLED, now, those=_UNDER_WAY)
            status_rows.advance_book(connection, version, now, self._tolerated)
            return ended

    def resume(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        with self._database.transaction() as connection:
            book = lock_book_of_owner(connection, owner_uid, book_id)
            if book["status"] != Status.CANCELLED:
                raise InvalidState(f"the book is {book['status']}, not cancelled: there is nothing to resume")
            begun = [to_job(r) for r in connection.execute(RESUME_JOBS_THAT_ARE_CANCELLED, book | {"now": now})]
            version = BookVersion(book_id, book["version"])
            status_rows.set_chapters(connection, version, Status.PENDING, now, those=[Status.CANCELLED])
            due = status_rows.advance_book(connection, version, now, self._tolerated).due
            return begun + add_jobs(connection, due, process_book_job(version).job_id, now)

    def delete(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        with self._database.transaction() as connection:
            # First, so that attempts under way write nothing more: a late one would wait for the rows below.
            book = lock_book_of_owner(connection, owner_uid, book_id)
            connection.execute(CANCEL_JOBS_UNLESS_ENDED, book | {"now": now})
            # If this is as far as it gets, the book is cancelled, and can be resumed.
            status_rows.advance_book(connection, BookVersion(book_id, book["version"]), now, self._tolerated)
        try:
            self.drop_rows(owner_uid, book_id, now)
        except Unavailable:
            # An attempt was just writing a long result, most likely: no other begins to.
            self.drop_rows(owner_uid, book_id, now)

    def set_readers(self, owner_uid: str | None, book_id: UUID, readers: Collection[str], now: datetime) -> None:
        where = {"owner": owner_uid, "book_id": book_id, "readers": list(readers)}
        with self._database.transaction() as connection:
            if not connection.execute(SET_READERS_OF_BOOK_OF_OWNER, where).rowcount:
                raise UnknownBook
            connection.execute(CHANGE_REVISION_OF_BOOK, {"book_id": book_id, "now": now})

    def drop_rows(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        """Delete the rows of a book that no attempt can write any more."""
        with self._database.transaction() as connection:
            lock_rows_of_book(connection, book_id)
            lock_book_of_owner(connection, owner_uid, book_id)
            add_book_tombstones(connection, book_id, now)
            connection.execute(DELETE_DELIVERIES_OF_BOOK, (book_id,))
            connection.execute(DELETE_BOOK, (book_id,))
