"""Paths of live documents, and the tombstones of those that must not be there any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.adapters.postgres.database import Connection


def insert_tombstones(gone: str) -> str:
    """The statement that writes tombstones for `gone`, a query for paths and book ids, with the parameter `now`."""
    return f"""
        INSERT INTO obsolete_documents (path, book_id, revision, since)
        SELECT path, book_id, nextval('revisions'), %(now)s FROM ({gone}) AS gone (path, book_id)
        ON CONFLICT (path) DO UPDATE SET revision = excluded.revision, since = excluded.since, buried_at = NULL
    """


_ADD_TOMBSTONES = insert_tombstones("SELECT unnest(%(paths)s::text[]), %(book_id)s::uuid")

_MOST_CHAPTERS = "SELECT coalesce(max(chapter_number), 0) AS number FROM recent_chapters WHERE book_id = %s"
_JOBS = "SELECT job_id FROM jobs WHERE book_id = %s"


def book_path(book_id: UUID) -> str:
    return f"books/{book_id}"


def chapter_path(book_id: UUID, number: int) -> str:
    return f"books/{book_id}/chapters/{number:04d}"


def job_path(job_id: str) -> str:
    return f"jobs/{job_id}"


def add_tombstones(connection: Connection, book_id: UUID, paths: Sequence[str], now: datetime) -> None:
    """Writes tombstones. A document that is written after this, from newer rows, is newer than they are."""
    connection.execute(_ADD_TOMBSTONES, {"book_id": book_id, "paths": list(paths), "now": now})


def add_chapter_tombstones(connection: Connection, book_id: UUID, count: int, now: datetime) -> None:
    """The documents of chapters that only earlier versions had."""
    row = connection.execute(_MOST_CHAPTERS, (book_id,)).fetchone()
    assert row is not None
    add_tombstones(connection, book_id, [chapter_path(book_id, n) for n in range(count + 1, row["number"] + 1)], now)


def add_book_tombstones(connection: Connection, book_id: UUID, now: datetime) -> None:
    """All of the book's documents. To be called before its rows go."""
    add_chapter_tombstones(connection, book_id, 0, now)
    jobs = [job_path(r["job_id"]) for r in connection.execute(_JOBS, (book_id,))]
    add_tombstones(connection, book_id, [book_path(book_id), *jobs], now)
