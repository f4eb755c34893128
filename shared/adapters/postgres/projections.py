"""Live documents, as the rows say they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.documents import (
    COUNTS_OF_CHAPTERS,
    DOCUMENT_IS_DUE,
    JOB_DOCUMENT_KEPT,
    SHOWN_OF_CHAPTER,
    STATES_OF_CHAPTERS,
    book_documents,
    chapter_document,
    job_document,
)
from shared.adapters.postgres.locks import lock_books
from shared.adapters.postgres.queue_positions import SHOWN_STATUS
from shared.adapters.postgres.tombstones import job_path
from shared.domain.jobs import Job
from shared.ports import Clock, Document, Tombstone

# The documents of books: their status, what there is of their chapters, and how far each is. LIMIT keeps the planner
# from reading all books instead of looking each of these up.
SELECT_BOOKS_WITH_THEIR_COUNTS = f"""
    SELECT found.* FROM unnest(%s::uuid[]) AS wanted (book_id) CROSS JOIN LATERAL (
        SELECT b.owner_uid, b.readers, v.title, v.cause, s.*, {SHOWN_STATUS} AS shown_status,
               (SELECT max(max_attempts) FROM jobs WHERE book_id = b.book_id AND version = s.version
                AND state = 'retrying') AS max_attempts, counts.*, states.*, grid.*,
               (SELECT coalesce(sum((SELECT count(*) FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id)), 0)::int
                FROM recent_chapters r WHERE r.book_id = b.book_id AND r.version = s.version) AS chunks,
               (SELECT c.context->>'summary' FROM book_contexts c
                WHERE c.book_id = b.book_id AND c.version IN (s.version, b.current_version)
                ORDER BY c.version DESC, c.mode = 'full' DESC LIMIT 1) AS summary
        FROM books b
        JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
        JOIN book_versions v ON v.book_id = b.book_id AND v.version = s.version
        {COUNTS_OF_CHAPTERS}
        {STATES_OF_CHAPTERS}
        WHERE b.book_id = wanted.book_id LIMIT 1) found
"""

# Of the newest version that has been split: until then, its predecessor's chapters are what there is.
SELECT_CHAPTERS_OF_NEWEST_SPLIT_WHERE = f"""
    SELECT {SHOWN_OF_CHAPTER}
    FROM recent_chapters r
    JOIN processing_status s ON s.entity_type = 'chapter' AND s.entity_id = r.chapter_id
    JOIN books b ON b.book_id = r.book_id
    WHERE {{}} AND r.version = (SELECT max(version) FROM recent_chapters WHERE book_id = r.book_id)
    ORDER BY r.chapter_number
"""

SELECT_JOBS = "SELECT * FROM jobs WHERE job_id = ANY(%s)"

# Over all processes, one writes a book's document in a second, if it shows anything new.
ACQUIRE_WRITE_WINDOW_IF_DUE = f"""
    UPDATE processing_status s SET projected_at = %(now)s, projected_phase = status || ' ' || phase
    WHERE entity_type = 'book' AND entity_id = %(book_id)s AND projected_revision < revision AND {DOCUMENT_IS_DUE}
"""

# Those never deleted first, then those deleted longest ago.
SELECT_TOMBSTONES_WHERE = "SELECT path, revision FROM obsolete_documents {} ORDER BY buried_at NULLS FIRST, path"

# Never waits: a row that someone is changing will be written again anyway. And what became obsolete meanwhile, of one
# book.
MARK_PROJECTED = f"""
    WITH free AS (
        SELECT s.entity_type, s.entity_id, d.revision FROM processing_status s
        JOIN unnest(%(types)s::text[], %(ids)s::uuid[], %(revisions)s::bigint[]) AS d (entity_type, entity_id, revision)
            USING (entity_type, entity_id) FOR UPDATE OF s SKIP LOCKED
    ), free_jobs AS (
        SELECT j.job_id, d.revision FROM jobs j
        JOIN unnest(%(job_ids)s::text[], %(job_revisions)s::bigint[]) AS d (job_id, revision) USING (job_id)
        FOR UPDATE OF j SKIP LOCKED
    ), marked AS (
        UPDATE processing_status s SET projected_revision = greatest(projected_revision, free.revision) FROM free
        WHERE s.entity_type = free.entity_type AND s.entity_id = free.entity_id
    ), marked_jobs AS (
        UPDATE jobs j SET projected_revision = greatest(projected_revision, free_jobs.revision) FROM free_jobs
        WHERE j.job_id = free_jobs.job_id
    )
    {SELECT_TOMBSTONES_WHERE.format("WHERE book_id = %(book_id)s")}
"""

# A status `s` of which there is a live document: chapters of older versions have none.
HAS_A_DOCUMENT = """
    (s.entity_type = 'book' OR s.version = (SELECT max(r.version) FROM recent_chapters r WHERE r.book_id = s.book_id))
"""

# -1 stands for a document that is missing. With a revision of its own: what is there is written anew, too.
MARK_STATUSES_UNPROJECTED = f"""
    UPDATE processing_status s SET projected_revision = -1, revision = nextval('revisions')
    WHERE book_id = ANY(%(books)s) AND {HAS_A_DOCUMENT}
"""

# The same for the jobs of books, but for those that retention drops within a day: a document that is written late
# would stay.
MARK_JOBS_UNPROJECTED = """
    UPDATE jobs SET projected_revision = -1, revision = nextval('revisions')
    WHERE book_id = ANY(%(books)s) AND (finished_on IS NULL OR finished_on > %(since)s OR state = 'cancelled'
        OR type NOT IN ('chapter-processing', 'embedding-generation'))
"""

# One, or all of them.
SELECT_BOOK_IDS = "SELECT book_id FROM books WHERE %(book_id)s::uuid IS NULL OR book_id = %(book_id)s ORDER BY book_id"
_BOOKS_AT_ONCE = 100  # work on them waits meanwhile

# Documents that are missing first; those that changed a moment ago are being written just now. Each table is read in
# the order of its index, no further than needed.
SELECT_ROWS_AHEAD_OF_THEIR_DOCUMENTS = f"""
    SELECT * FROM (
        (SELECT s.entity_type AS kind, s.entity_id::text AS id, s.projected_revision FROM processing_status s
         WHERE s.projected_revision < s.revision AND (s.updated_at < %(before)s OR s.projected_revision < 0)
           AND {HAS_A_DOCUMENT}
         ORDER BY s.projected_revision, s.entity_id LIMIT %(limit)s)
        UNION ALL
        (SELECT 'job', job_id, projected_revision FROM jobs
         WHERE projected_revision < revision
           AND (coalesce(finished_on, processed_on, created_at) < %(before)s OR projected_revision < 0)
         ORDER BY projected_revision, job_id LIMIT %(limit)s)
    ) AS ahead ORDER BY projected_revision, id LIMIT %(limit)s
"""

# By now, no attempt that was under way can write the document any more.
DROP_TOMBSTONES_THAT_ARE_DONE = """
    DELETE FROM obsolete_documents WHERE path IN (
        SELECT o.path FROM obsolete_documents o
        JOIN unnest(%(paths)s::text[], %(revisions)s::bigint[]) AS t (path, revision) USING (path)
        WHERE o.revision = t.revision AND o.since <= %(now)s::timestamptz - interval '15 minutes'
        FOR UPDATE OF o SKIP LOCKED)
"""

# The others stay for a while, for what is written late. Never waits: what is being renewed is deleted again.
MARK_TOMBSTONES_APPLIED = """
    UPDATE obsolete_documents SET buried_at = %(now)s WHERE path IN (
        SELECT path FROM obsolete_documents WHERE path = ANY(%(paths)s) FOR NO KEY UPDATE SKIP LOCKED)
"""

_A_MOMENT = timedelta(seconds=5)
_MAX_COUNTED = 10_000


class PostgresProjections:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def of_jobs(self, jobs: Sequence[Job]) -> list[Document]:
        chapter_ids = list({c for job in jobs for c in job.chapter_ids})
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_JOBS, ([job.job_id for job in jobs],)).fetchall()
            chapters = (
                connection.execute(
                    SELECT_CHAPTERS_OF_NEWEST_SPLIT_WHERE.format("r.chapter_id = ANY(%s)"), (chapter_ids,)
                ).fetchall()
                if chapter_ids
                else []
            )
        return [*map(job_document, rows), *map(chapter_document, chapters)]

    def of_book(self, book_id: UUID, *, chapters: bool = False) -> list[Document]:
        with self._database.statements() as connection:
            book = connection.execute(SELECT_BOOKS_WITH_THEIR_COUNTS, ([book_id],)).fetchone()
            if book is None:
                return []
            rows: Sequence[Mapping[str, Any]] = (
                connection.execute(
                    SELECT_CHAPTERS_OF_NEWEST_SPLIT_WHERE.format("r.book_id = %s"), (book_id,)
                ).fetchall()
                if chapters
                else []
            )
        return [*book_documents(book, self._clock()), *map(chapter_document, rows)]

    def acquire_write_window(self, book_id: UUID, now: datetime) -> bool:
        with self._database.statements() as connection:
            return connection.execute(ACQUIRE_WRITE_WINDOW_IF_DUE, {"book_id": book_id, "now": now}).rowcount > 0

    def mark_projected(self, documents: Sequence[Document], book_id: UUID | None = None) -> list[Tombstone]:
        statuses = [(*entity, d.revision) for d in documents if (entity := _entity(d))]
        prefix = job_path("")
        jobs = [(d.path.removeprefix(prefix), d.revision) for d in documents if d.path.startswith(prefix)]
        those = {
            "types": [kind for kind, _, _ in statuses],
            "ids": [entity_id for _, entity_id, _ in statuses],
            "revisions": [revision for _, _, revision in statuses],
            "job_ids": [job_id for job_id, _ in jobs],
            "job_revisions": [revision for _, revision in jobs],
            "book_id": book_id,
        }
        with self._database.statements() as connection:
            return [Tombstone(**r) for r in connection.execute(MARK_PROJECTED, those)]

    def mark_unprojected(self, book_id: UUID | None) -> int:
        with self._database.statements() as connection:
            books = [r["book_id"] for r in connection.execute(SELECT_BOOK_IDS, {"book_id": book_id})]
        where = {"since": self._clock() - JOB_DOCUMENT_KEPT + timedelta(days=1)}
        for i in range(0, len(books), _BOOKS_AT_ONCE):
            with self._database.transaction() as connection:
                lock_books(connection, books[i : i + _BOOKS_AT_ONCE])
                for statement in (MARK_STATUSES_UNPROJECTED, MARK_JOBS_UNPROJECTED):
                    connection.execute(statement, where | {"books": books[i : i + _BOOKS_AT_ONCE]})
        return len(books)

    def obsolete(self, book_id: UUID) -> list[Tombstone]:
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_TOMBSTONES_WHERE.format("WHERE book_id = %s"), (book_id,))
            return [Tombstone(**r) for r in rows]

    def all_obsolete(self, limit: int) -> list[Tombstone]:
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_TOMBSTONES_WHERE.format("") + " LIMIT %s", (limit,))
            return [Tombstone(**r) for r in rows]

    def mark_deleted(self, tombstones: Sequence[Tombstone], now: datetime) -> None:
        with self._database.statements() as connection:
            those = {"paths": [t.path for t in tombstones], "revisions": [t.revision for t in tombstones], "now": now}
            connection.execute(DROP_TOMBSTONES_THAT_ARE_DONE, those)
            connection.execute(MARK_TOMBSTONES_APPLIED, those)

    def lagging(self, now: datetime, limit: int) -> list[Document]:
        where = {"before": now - _A_MOMENT, "limit": limit}
        with self._database.statements() as connection:
            found = connection.execute(SELECT_ROWS_AHEAD_OF_THEIR_DOCUMENTS, where).fetchall()
            chapters = [UUID(r["id"]) for r in found if r["kind"] == "chapter"]
            rows = connection.execute(
                SELECT_CHAPTERS_OF_NEWEST_SPLIT_WHERE.format("r.chapter_id = ANY(%s)"), (chapters,)
            ).fetchall()
            jobs = connection.execute(SELECT_JOBS, ([r["id"] for r in found if r["kind"] == "job"],)).fetchall()
            books = connection.execute(
                SELECT_BOOKS_WITH_THEIR_COUNTS, ([UUID(r["id"]) for r in found if r["kind"] == "book"],)
            ).fetchall()
        shown = [d for r in books for d in book_documents(r, self._clock())]
        return [*map(job_document, jobs), *map(chapter_document, rows), *shown]

    def count_lagging(self, now: datetime) -> int:
        with self._database.statements() as connection:
            statement = f"SELECT count(*) AS n FROM ({SELECT_ROWS_AHEAD_OF_THEIR_DOCUMENTS}) l"
            row = connection.execute(statement, {"before": now - _A_MOMENT, "limit": _MAX_COUNTED}).fetchone()
        return int(row["n"]) if row else 0


def _entity(document: Document) -> tuple[str, UUID] | None:
    """The book or chapter whose row says that the document is written: of two, the book's own says it."""
    match document.path.split("/"):
        case ["books", _, "chapters", _]:
            return "chapter", UUID(document.fields["chapter_id"])
        case ["books", book_id]:
            return "book", UUID(book_id)
    return None
