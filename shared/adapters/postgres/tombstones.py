"""Paths of live documents, and the tombstones of those that must not be there any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shared.adapters.postgres.database import Connection


def insert_tombstones_sql(gone: str) -> str:
    """The statement that writes tombstones for `gone`: a query for paths, book ids, and since when they are gone."""
    return f"""
        INSERT INTO obsolete_documents (path, book_id, revision, since)
        SELECT path, book_id, nextval('revisions'), since FROM ({gone}) AS gone (path, book_id, since) ORDER BY path
        ON CONFLICT (path) DO UPDATE SET revision = excluded.revision, since = excluded.since, buried_at = NULL
    """


# Of paths that are known here.
INSERT_TOMBSTONES_OF_PATHS = insert_tombstones_sql(
    "SELECT unnest(%(paths)s::text[]), %(book_id)s::uuid, %(now)s::timestamptz"
)

# Earlier versions may have had more chapters.
SELECT_LAST_CHAPTER_OF_ANY_VERSION = """
    SELECT coalesce(max(chapter_number), 0) AS number FROM recent_chapters WHERE book_id = %s
"""

# All versions' jobs have documents.
SELECT_JOB_IDS_OF_BOOK = "SELECT job_id FROM jobs WHERE book_id = %s"


def book_path(book_id: UUID) -> str:
    return f"books/{book_id}"


def grid_path(book_id: UUID) -> str:
    return f"books/{book_id}/live/grid"


def chapter_path(book_id: UUID, number: int) -> str:
    return f"books/{book_id}/chapters/{number:04d}"


def job_path(job_id: str) -> str:
    return f"jobs/{job_id}"


def add_tombstones(connection: Connection, book_id: UUID, paths: Sequence[str], now: datetime) -> None:
    """Write that there must be no such documents. A document written after this, from newer rows, is newer than it."""
    connection.execute(INSERT_TOMBSTONES_OF_PATHS, {"book_id": book_id, "paths": list(paths), "now": now})


def add_chapter_tombstones(connection: Connection, book_id: UUID, count: int, now: datetime) -> None:
    """For the documents of chapters beyond the first `count`, which only earlier versions had."""
    row = connection.execute(SELECT_LAST_CHAPTER_OF_ANY_VERSION, (book_id,)).fetchone()
    assert row is not None
    add_tombstones(connection, book_id, [chapter_path(book_id, n) for n in range(count + 1, row["number"] + 1)], now)


def add_book_tombstones(connection: Connection, book_id: UUID, now: datetime) -> None:
    """For all of the book's documents. To be called before its rows go."""
    add_chapter_tombstones(connection, book_id, 0, now)
    jobs = [job_path(r["job_id"]) for r in connection.execute(SELECT_JOB_IDS_OF_BOOK, (book_id,))]
    add_tombstones(connection, book_id, [book_path(book_id), grid_path(book_id), *jobs], now)
