"""What the API reads. Every statement filters by user: a book of someone else's is not there, unless they share it.

An owner of None stands for an administrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.documents import COUNTS_OF_CHAPTERS
from shared.adapters.postgres.queue_positions import SHOWN_STATUS
from shared.domain.books import BookFilter, BookVersion, Status
from shared.domain.stages import JobType

Row = Mapping[str, Any]

# How far a book is, for its owner, its readers or an administrator.
SELECT_STATUS_OF_BOOK_FOR = f"""
    SELECT s.*, {SHOWN_STATUS} AS status,
           (SELECT max(max_attempts) FROM jobs j WHERE j.book_id = b.book_id AND j.version = s.version
            AND j.state = 'retrying') AS max_attempts,
           b.title, b.owner_uid, b.current_version, b.google_doc_id, b.source_id, b.total_word_count, v.cause,
           counts.*, states.*
    FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    JOIN book_versions v ON v.book_id = s.book_id AND v.version = s.version
    {COUNTS_OF_CHAPTERS}
    WHERE b.book_id = %(id)s
      AND (%(uid)s::text IS NULL OR b.owner_uid = %(uid)s OR %(as_reader)s AND b.readers @> ARRAY[%(uid)s])
"""

# The one place that says who may hear of a book's live documents.
SELECT_WHETHER_BOOK_MAY_BE_WATCHED_BY = """
    SELECT 1 FROM books b
    WHERE b.book_id = %(id)s AND (%(uid)s::text IS NULL OR b.owner_uid = %(uid)s OR b.readers @> ARRAY[%(uid)s::text])
"""

# A job belongs to whom its book belongs to.
SELECT_JOB_FOR = """
    SELECT j.* FROM jobs j JOIN books b USING (book_id)
    WHERE j.job_id = %(id)s AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

# Pages by key: (created_at, job_id) of the last job of the page before.
SELECT_PAGE_OF_JOBS_FOR = """
    SELECT j.* FROM jobs j JOIN books b USING (book_id)
    WHERE (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
      AND (%(book_id)s::uuid IS NULL OR j.book_id = %(book_id)s)
      AND (%(type)s::text IS NULL OR j.type = %(type)s)
      AND (%(state)s::text IS NULL OR j.state = %(state)s)
      AND (%(after)s::text IS NULL
           OR (j.created_at, j.job_id) < (SELECT created_at, job_id FROM jobs WHERE job_id = %(after)s))
    ORDER BY j.created_at DESC, j.job_id DESC LIMIT %(limit)s
"""

OWNED_BY_USER = "b.owner_uid = %(uid)s"
SHARED_WITH_USER = "b.readers @> ARRAY[%(uid)s::text] AND b.readers <> '{}'"

BOOKS_AND_THEIR_STATUS = """
    FROM books b JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE {of_user} AND (%(title)s::text IS NULL OR position(lower(%(title)s) IN lower(b.title)) > 0)
      AND (%(source_id)s::text IS NULL OR b.source_id = %(source_id)s)
"""

# Pages by key: (created_at, book_id) of the last book of the page before.
SELECT_PAGE_OF_BOOKS_WHERE = f"""
    SELECT b.*, {SHOWN_STATUS} AS status, s.progress, s.phase
    {BOOKS_AND_THEIR_STATUS}
      AND (%(status)s::text IS NULL OR {SHOWN_STATUS} = %(status)s)
      AND (%(after)s::uuid IS NULL
           OR (b.created_at, b.book_id) < (SELECT b.created_at, b.book_id FROM books b
                                              WHERE b.book_id = %(after)s AND {{of_user}}))
    ORDER BY b.created_at DESC, b.book_id DESC LIMIT %(limit)s
"""
COUNT_BOOKS_BY_STATUS_WHERE = f"SELECT {SHOWN_STATUS} AS status, count(*) AS books {BOOKS_AND_THEIR_STATUS} GROUP BY 1"

# Readers see the current version; before there is one, the one that is being built.
SELECT_VERSION_THAT_READERS_SEE = """
    SELECT b.book_id, coalesce(b.current_version, b.latest_version) AS version, v.title, v.split_method, b.owner_uid,
           b.readers
    FROM books b JOIN book_versions v
      ON v.book_id = b.book_id AND v.version = coalesce(b.current_version, b.latest_version)
    WHERE b.book_id = %(id)s AND (b.owner_uid = %(uid)s OR b.readers @> ARRAY[%(uid)s::text])
"""

# The full one, or the quick one while there is no other.
SELECT_BEST_CONTEXT = """
    SELECT context, mode, model FROM book_contexts WHERE book_id = %s AND version = %s
    ORDER BY mode = 'full' DESC LIMIT 1
"""

# What the extractor left for itself is internal, and not returned.
SELECT_CHAPTERS_OF_VERSION = """
    SELECT r.chapter_id, r.chapter_number, r.title, r.word_count, r.start_offset, r.end_offset,
           s.status, s.error, r.metadata - 'evidence' AS metadata,
           jsonb_strip_nulls(jsonb_build_object('metadata', s.lacks_metadata)) AS lacks
    FROM recent_chapters r
    JOIN processing_status s ON s.entity_type = 'chapter' AND s.entity_id = r.chapter_id
    WHERE r.book_id = %s AND r.version = %s ORDER BY r.chapter_number
"""


class PostgresCatalogue:
    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self, uid: str | None, book_id: UUID, *, as_reader: bool = False) -> Row | None:
        return self._one(SELECT_STATUS_OF_BOOK_FOR, {"id": book_id, "uid": uid, "as_reader": as_reader})

    def may_watch(self, uid: str | None, book_id: UUID) -> bool:
        return self._one(SELECT_WHETHER_BOOK_MAY_BE_WATCHED_BY, {"id": book_id, "uid": uid}) is not None

    def job(self, owner_uid: str | None, job_id: str) -> Row | None:
        return self._one(SELECT_JOB_FOR, {"id": job_id, "owner": owner_uid})

    def jobs(
        self,
        owner_uid: str | None,
        book_id: UUID | None,
        job_type: JobType | None,
        state: Status | None,
        after: str | None,
        limit: int,
    ) -> Sequence[Row]:
        where = {"owner": owner_uid, "book_id": book_id, "type": job_type, "state": state}
        return self._chosen(SELECT_PAGE_OF_JOBS_FOR, {**where, "after": after, "limit": limit})

    def books(self, chosen: BookFilter, after: UUID | None, limit: int) -> Sequence[Row]:
        statement = SELECT_PAGE_OF_BOOKS_WHERE.format(of_user=_of_user(chosen))
        return self._chosen(statement, {**asdict(chosen), "after": after, "limit": limit})

    def count_books(self, chosen: BookFilter) -> Mapping[Status, int]:
        rows = self._chosen(COUNT_BOOKS_BY_STATUS_WHERE.format(of_user=_of_user(chosen)), asdict(chosen))
        return {Status(row["status"]): row["books"] for row in rows}

    def readable(self, uid: str, book_id: UUID) -> Row | None:
        return self._one(SELECT_VERSION_THAT_READERS_SEE, {"id": book_id, "uid": uid})

    def context(self, version: BookVersion) -> Row | None:
        """The full context, or the quick one while there is no other."""
        return self._one(SELECT_BEST_CONTEXT, (version.book_id, version.version))

    def chapters(self, version: BookVersion) -> Sequence[Row]:
        return self._all(SELECT_CHAPTERS_OF_VERSION, (version.book_id, version.version))

    def _one(self, query: str, where: Any) -> Row | None:
        with self._database.statements() as connection:
            return connection.execute(query, where).fetchone()

    def _all(self, query: str, where: Any, prepare: bool | None = None) -> Sequence[Row]:
        with self._database.statements() as connection:
            return connection.execute(query, where, prepare=prepare).fetchall()

    def _chosen(self, query: str, where: Any) -> Sequence[Row]:
        """Planned anew each time: the plan depends on what is chosen by."""
        return self._all(query, where, prepare=False)


def _of_user(chosen: BookFilter) -> str:
    return SHARED_WITH_USER if chosen.shared else OWNED_BY_USER
