"""Writes a manuscript as a new version, once for each request however often it is sent."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.job_store import add_jobs
from shared.domain import jobs
from shared.domain.errors import KeyReused, TooManyBooks, UnknownBook
from shared.domain.imports import Imported, ImportRequest, request_hash
from shared.domain.jobs import Status
from shared.domain.results import content_hash

_KNOWN_KEY = "SELECT * FROM idempotency_keys WHERE owner_uid = %s AND key = %s"
# Two requests with one key wait for each other here, so that the second finds what the first wrote.
_LOCK_KEY = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_KEEP_KEY = """
    INSERT INTO idempotency_keys (owner_uid, key, request_hash, book_id, version, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""

_NEW_BOOK = """
    INSERT INTO books (book_id, owner_uid, google_doc_id, title, latest_version, created_at, updated_at)
    VALUES (%(book_id)s, %(owner_uid)s, %(google_doc_id)s, %(title)s, 0, %(now)s, %(now)s)
    ON CONFLICT DO NOTHING
"""
_LOCK_BOOK = "SELECT * FROM books WHERE book_id = %s AND owner_uid = %s FOR NO KEY UPDATE"

_SAME_AS_LATEST = """
    SELECT 1 FROM book_versions WHERE book_id = %s AND version = %s AND content_hash = %s AND title = %s
"""
_NEW_VERSION = """
    INSERT INTO book_versions (book_id, version, title, content, content_hash, force, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_LATEST = "UPDATE books SET latest_version = %s, updated_at = %s WHERE book_id = %s"

# Imports of one user take turns, so that two at once don't both find the last place free.
_LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))"
_UNDER_WAY = """
    SELECT count(*) AS books FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.owner_uid = %s AND b.book_id <> %s AND s.status IN ('pending', 'processing', 'retrying')
"""

_NEW_STATUS = """
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, phase, created_at, updated_at)
    VALUES ('book', %(book_id)s, %(book_id)s, %(version)s, 'splitting', %(now)s, %(now)s)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = excluded.version, status = 'pending', phase = 'splitting', progress = 0, attempt = 0,
        next_attempt_at = NULL, error = NULL, started_at = NULL, completed_at = NULL,
        created_at = excluded.created_at, updated_at = excluded.updated_at, revision = nextval('revisions')
"""
# What failed of older versions is nobody's business any more.
_SETTLE_LETTERS = """
    UPDATE dead_letters SET state = 'resolved' WHERE book_id = %s AND version < %s AND state IN ('open', 'redriven')
"""
_DROP_ACTIONS = """
    UPDATE dead_letter_actions a SET outcome = 'dropped', reason = 'a newer version took over', finished_at = %s
    FROM dead_letters d
    WHERE d.dead_letter_id = a.dead_letter_id AND d.book_id = %s AND d.version < %s
      AND a.outcome IN ('held', 'waiting', 'sent')
"""
_STATUS = """
    SELECT status, progress FROM processing_status WHERE entity_type = 'book' AND entity_id = %s AND version = %s
"""


class PostgresImports:
    """`max_under_way` books of one user may be under way at once."""

    def __init__(self, database: Database, max_under_way: int) -> None:
        self._database = database
        self._max_under_way = max_under_way

    def add(self, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        """Writes the book, the version and its first job in one transaction.

        `book_id` is for a book that is not known by the request's own ids. Raises UnknownBook if the request
        names a book that the owner does not have, KeyReused if its key came with another request, TooManyBooks.
        """
        with self._database.transaction() as connection:
            if request.idempotency_key:
                known = self._known(connection, request)
                if known:
                    return known
            imported = self._write(connection, request, book_id, now)
            if request.idempotency_key:
                row = (request.owner_uid, request.idempotency_key, request_hash(request))
                connection.execute(_KEEP_KEY, (*row, imported.book_id, imported.version, now))
            return imported

    def _known(self, connection: Connection, request: ImportRequest) -> Imported | None:
        connection.execute(_LOCK_KEY, (f"{request.owner_uid}\n{request.idempotency_key}",))
        row = connection.execute(_KNOWN_KEY, (request.owner_uid, request.idempotency_key)).fetchone()
        if row is None:
            return None
        if row["request_hash"] != request_hash(request):
            raise KeyReused("this Idempotency-Key came with another request before")
        return _existing(connection, row["book_id"], row["version"])

    def _write(self, connection: Connection, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        if request.book_id is None:
            connection.execute(
                _NEW_BOOK,
                {
                    "book_id": book_id,
                    "owner_uid": request.owner_uid,
                    "google_doc_id": request.google_doc_id,
                    "title": request.title,
                    "now": now,
                },
            )
        book = connection.execute(_LOCK_BOOK, (request.book_id or book_id, request.owner_uid)).fetchone()
        if book is None:
            raise UnknownBook("there is no such book")
        latest = book["latest_version"]
        same = (book["book_id"], latest, content_hash(request.content), request.title)
        if not request.force and connection.execute(_SAME_AS_LATEST, same).fetchone():
            return _existing(connection, book["book_id"], latest)
        check_limit(connection, request.owner_uid, book["book_id"], self._max_under_way)
        return _add_version(connection, request, book["book_id"], latest + 1, now)


def check_limit(connection: Connection, owner_uid: str, book_id: UUID, most: int) -> None:
    """Raises TooManyBooks if so many of the owner's other books are under way."""
    connection.execute(_LOCK_OWNER, (owner_uid,))
    row = connection.execute(_UNDER_WAY, (owner_uid, book_id)).fetchone()
    if row and row["books"] >= most:
        raise TooManyBooks(f"{row['books']} books are under way, as many as a user may have at once")


def _add_version(
    connection: Connection, request: ImportRequest, book_id: UUID, version: int, now: datetime
) -> Imported:
    row = (book_id, version, request.title, request.content, content_hash(request.content), request.force, now)
    connection.execute(_NEW_VERSION, row)
    connection.execute(_LATEST, (version, now, book_id))
    connection.execute(_NEW_STATUS, {"book_id": book_id, "version": version, "now": now})
    connection.execute(_SETTLE_LETTERS, (book_id, version))
    connection.execute(_DROP_ACTIONS, (now, book_id, version))
    job = jobs.process_book_job(book_id, version)
    add_jobs(connection, [job], None, now)
    return Imported(book_id=book_id, version=version, job=job, is_new=True, status=Status.PENDING, progress=0)


def _existing(connection: Connection, book_id: UUID, version: int) -> Imported:
    row = connection.execute(_STATUS, (book_id, version)).fetchone()
    return Imported(
        book_id=book_id,
        version=version,
        job=jobs.process_book_job(book_id, version),
        is_new=False,
        status=Status(row["status"]) if row else Status.CANCELLED,
        progress=row["progress"] if row else 0,
    )
