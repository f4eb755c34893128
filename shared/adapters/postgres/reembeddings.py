"""Wishes to move books to another embedding model, and the versions that are begun for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.imports import repeat_version
from shared.adapters.postgres.outdated_books import (
    BOOKS_WITH_READERS,
    MODEL,
    STATE,
    about,
    is_due,
    state_of_book,
)
from shared.adapters.postgres.status_rows import UNDER_WAY
from shared.domain.books import Cause
from shared.domain.embeddings import ModelKey
from shared.domain.errors import OtherModel
from shared.domain.jobs import Job
from shared.domain.reembeddings import Books

Row = Mapping[str, Any]

# One who begins versions does it alone, so that two don't begin more than may be under way.
LOCK_BEGINNINGS = "SELECT pg_advisory_xact_lock(hashtextextended('reembed', 3))"

IS_OPEN = "w.stopped_at IS NULL AND w.finished_at IS NULL"
OF_WISH = "(w.book_id IS NULL OR w.book_id = b.book_id) AND (w.owner_uid IS NULL OR w.owner_uid = b.owner_uid)"
IS_FOR_MODEL = f"(w.embedding_model, w.embedding_version) = ({MODEL})"

# To ask again goes on with the wish that is open.
INSERT_WISH_UNLESS_IT_IS_OPEN = """
    INSERT INTO reembeddings (reembedding_id, embedding_model, embedding_version, book_id, owner_uid, requested_by,
                              requested_at)
    VALUES (%(reembedding_id)s, %(model)s, %(model_version)s, %(book_id)s, %(owner_uid)s, %(requested_by)s, %(now)s)
    ON CONFLICT DO NOTHING
"""

# The one that was asked for, now or before.
SELECT_OPEN_WISH = f"""
    SELECT reembedding_id FROM reembeddings w
    WHERE {IS_OPEN} AND {IS_FOR_MODEL} AND w.book_id IS NOT DISTINCT FROM %(book_id)s
      AND w.owner_uid IS NOT DISTINCT FROM %(owner_uid)s
"""

# All, or those for other models: who asks for this one wants no other any more.
STOP_OPEN_WISHES = f"""
    UPDATE reembeddings w SET stopped_at = %(now)s WHERE {IS_OPEN} AND (%(model)s::text IS NULL OR NOT {IS_FOR_MODEL})
"""

# Nothing is left to begin, and what was begun has ended.
FINISH_WISHES_THAT_ARE_FULFILLED = f"""
    UPDATE reembeddings w SET finished_at = %(now)s
    WHERE {IS_OPEN} AND {IS_FOR_MODEL} AND NOT EXISTS (
        SELECT 1 {BOOKS_WITH_READERS} WHERE {OF_WISH} AND {STATE} IN ('left', 'under_way'))
"""

# Those that are open first, then the newest; or one. Each with how far its books are.
SELECT_WISHES_WITH_THEIR_BOOKS = f"""
    SELECT w.*, c.* FROM (
        SELECT *, {IS_OPEN} AS is_open FROM reembeddings w
        WHERE %(reembedding_id)s::uuid IS NULL OR reembedding_id = %(reembedding_id)s
        ORDER BY is_open DESC, requested_at DESC, reembedding_id LIMIT %(limit)s) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS books, count(*) FILTER (WHERE state = 'done') AS done,
               count(*) FILTER (WHERE state = 'under_way') AS under_way, count(*) FILTER (WHERE state = 'left') AS left,
               count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'skipped') AS skipped
        FROM (SELECT {state_of_book("w.embedding_model, w.embedding_version")} AS state
              {BOOKS_WITH_READERS} WHERE {OF_WISH}) s) c
    ORDER BY is_open DESC, requested_at DESC, reembedding_id
"""

IS_ANY_WISH_OPEN = f"SELECT 1 FROM reembeddings w WHERE {IS_OPEN} AND {IS_FOR_MODEL} LIMIT 1"

# In no order that an owner's books have: their turns come evenly.
SELECT_BOOKS_THAT_ARE_DUE = f"""
    SELECT b.book_id {BOOKS_WITH_READERS}
    WHERE {STATE} = 'left'
      AND EXISTS (SELECT 1 FROM reembeddings w WHERE {IS_OPEN} AND {IS_FOR_MODEL} AND {OF_WISH})
    ORDER BY b.book_id LIMIT %(limit)s
"""

# Those that were begun, and have not ended.
COUNT_BOOKS_UNDER_WAY = f"""
    SELECT count(*) AS n FROM processing_status s
    JOIN book_versions v ON v.book_id = s.book_id AND v.version = s.version
    WHERE s.entity_type = 'book' AND s.status IN {UNDER_WAY} AND v.cause = 'reembed'
"""

# What is being imported or deleted just now is left to the next run.
LOCK_BOOK_UNLESS_IT_IS_LOCKED = """
    SELECT latest_version FROM books WHERE book_id = %s FOR NO KEY UPDATE SKIP LOCKED
"""

# An attempt found that it has another model than the version. Few jobs wait for their next attempt.
SELECT_MODELS_THAT_NOBODY_HAS = f"""
    SELECT DISTINCT v.embedding_model AS name, v.embedding_version AS version
    FROM jobs j JOIN book_versions v USING (book_id, version)
    WHERE j.state = 'retrying' AND j.error->>'error_class' = '{OtherModel.__name__}'
      AND (v.embedding_model, v.embedding_version) <> ({MODEL})
"""

# Where it was found, and where it would be.
SELECT_BOOKS_THAT_WAIT_FOR_MODELS = """
    SELECT DISTINCT book_id FROM jobs j JOIN book_versions v USING (book_id, version)
    WHERE j.state IN ('pending', 'retrying') AND j.type IN ('book-processing', 'embedding-generation')
      AND (v.embedding_model, v.embedding_version) IN (SELECT * FROM unnest(%(names)s::text[], %(versions)s::text[]))
    ORDER BY book_id LIMIT %(limit)s
"""

# Again, now that nobody else begins a version of it.
SELECT_CAUSE_IF_IT_STILL_WAITS = f"""
    SELECT v.cause FROM book_versions v
    WHERE v.book_id = %(book_id)s AND v.version = %(latest)s
      AND (v.embedding_model, v.embedding_version) <> ({MODEL})
      AND EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = v.book_id AND j.version = v.version
                  AND j.state IN ('pending', 'retrying') AND j.type IN ('book-processing', 'embedding-generation'))
"""


class PostgresReembeddings:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, books: Books, model: ModelKey, requested_by: str, new_id: UUID, now: datetime) -> UUID:
        row = about(model) | {"book_id": books.book_id, "owner_uid": books.owner_uid, "now": now}
        row |= {"reembedding_id": new_id, "requested_by": requested_by}
        with self._database.transaction() as connection:
            connection.execute(STOP_OPEN_WISHES, row)
            connection.execute(INSERT_WISH_UNLESS_IT_IS_OPEN, row)
            wish = connection.execute(SELECT_OPEN_WISH, row).fetchone()
            return wish["reembedding_id"] if wish else new_id  # else somebody stopped it just now

    def stop(self, now: datetime) -> int:
        with self._database.statements() as connection:
            return connection.execute(STOP_OPEN_WISHES, {"now": now, "model": None, "model_version": None}).rowcount

    def wishes(self, limit: int, reembedding_id: UUID | None = None) -> Sequence[Row]:
        where = {"limit": limit, "reembedding_id": reembedding_id}
        with self._database.statements() as connection:
            return connection.execute(SELECT_WISHES_WITH_THEIR_BOOKS, where).fetchall()

    def begin_due(self, model: ModelKey, at_once: int, now: datetime) -> list[Job]:
        with self._database.statements() as connection:
            if not connection.execute(IS_ANY_WISH_OPEN, about(model)).fetchone():
                return []
            connection.execute(FINISH_WISHES_THAT_ARE_FULFILLED, about(model) | {"now": now})
            limit = max(0, at_once - _under_way(connection))
            due = connection.execute(SELECT_BOOKS_THAT_ARE_DUE, about(model) | {"limit": limit}).fetchall()
        begun = [self._begin(row["book_id"], model, at_once, now) for row in due]
        return [job for job in begun if job]

    def _begin(self, book_id: UUID, model: ModelKey, at_once: int, now: datetime) -> Job | None:
        with self._database.transaction() as connection:
            connection.execute(LOCK_BEGINNINGS)
            book = connection.execute(LOCK_BOOK_UNLESS_IT_IS_LOCKED, (book_id,)).fetchone()
            if book is None or not is_due(connection, book_id, model) or _under_way(connection) >= at_once:
                return None
            return repeat_version(connection, book_id, book["latest_version"], model, now)

    def begin_anew(self, model: ModelKey, limit: int, now: datetime) -> list[Job]:
        with self._database.statements() as connection:
            gone = connection.execute(SELECT_MODELS_THAT_NOBODY_HAS, about(model)).fetchall()
            if not gone:
                return []
            those = {"names": [r["name"] for r in gone], "versions": [r["version"] for r in gone], "limit": limit}
            found = connection.execute(SELECT_BOOKS_THAT_WAIT_FOR_MODELS, those).fetchall()
        begun = [self._begin_anew(row["book_id"], model, now) for row in found]
        return [job for job in begun if job]

    def _begin_anew(self, book_id: UUID, model: ModelKey, now: datetime) -> Job | None:
        with self._database.transaction() as connection:
            book = connection.execute(LOCK_BOOK_UNLESS_IT_IS_LOCKED, (book_id,)).fetchone()
            if book is None:
                return None
            where = about(model) | {"book_id": book_id, "latest": book["latest_version"]}
            version = connection.execute(SELECT_CAUSE_IF_IT_STILL_WAITS, where).fetchone()
            if version is None:
                return None
            wanted = model if version["cause"] == Cause.REEMBED else None
            return repeat_version(connection, book_id, book["latest_version"], wanted, now)


def _under_way(connection: Connection) -> int:
    row = connection.execute(COUNT_BOOKS_UNDER_WAY).fetchone()
    return int(row["n"]) if row else 0
