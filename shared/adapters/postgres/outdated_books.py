"""Which books' readers see vectors of another model than the one that is asked now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.status_rows import UNDER_WAY
from shared.domain.embeddings import ModelKey
from shared.domain.reembeddings import Books

Row = Mapping[str, Any]


def is_of_model(version: str, model: str) -> str:
    """Whether the vectors of a row of `book_versions` are of a model: it knows from its split on, and of what was split
    before there was that column its chapters tell."""
    return f"""
    CASE WHEN {version}.embedding_model IS NOT NULL
         THEN ({version}.embedding_model, {version}.embedding_version) = ({model})
         ELSE NOT EXISTS (
             SELECT 1 FROM recent_chapters r WHERE r.book_id = {version}.book_id AND r.version = {version}.version
             AND (r.embedding_model, r.embedding_version) <> ({model})) END
"""


def state_of_book(model: str) -> str:
    """In which of these states a book is, as far as a model is concerned; those that are `left` are due.

    A book is skipped whose owner, or a failure, left its newest import unfinished: its vectors will be the model's when
    that goes on. What failed for this model is not tried again; what failed for another one is.
    """
    return f"""
    CASE WHEN {is_of_model("shown", model)} THEN 'done'
         WHEN s.status IN {UNDER_WAY} THEN 'under_way'
         WHEN s.status = 'completed' AND b.current_version = b.latest_version THEN 'left'
         WHEN latest.cause = 'import' OR s.status = 'cancelled' THEN 'skipped'
         WHEN {is_of_model("latest", model)} THEN 'failed'
         ELSE 'left' END
"""


# With `shown`, the version that they see, and `latest`, which may be the same.
BOOKS_WITH_READERS = """
    FROM books b
    JOIN book_versions shown ON shown.book_id = b.book_id AND shown.version = b.current_version
    JOIN book_versions latest ON latest.book_id = b.book_id AND latest.version = b.latest_version
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
"""

MODEL = "%(model)s, %(model_version)s"
STATE = state_of_book(MODEL)

# Whoever has locked the book's row begins its next version.
IS_BOOK_DUE = f"SELECT 1 {BOOKS_WITH_READERS} WHERE b.book_id = %(book_id)s AND {STATE} = 'left'"

# With the version whose chapters are embedded anew.
DUE_BOOKS = f"""
    SELECT b.book_id, shown.version, shown.embedding_model, shown.embedding_version {BOOKS_WITH_READERS}
    WHERE (%(book_id)s::uuid IS NULL OR b.book_id = %(book_id)s)
      AND (%(owner_uid)s::text IS NULL OR b.owner_uid = %(owner_uid)s) AND {STATE} = 'left'
"""

# By the model that they are to leave: no text is read. Who is neither read nor refused is asked about again.
COUNT_DUE_BOOKS_BY_MODEL = f"""
    SELECT coalesce(due.embedding_model, c.model) AS name, coalesce(due.embedding_version, c.model_version) AS version,
           count(*) AS books, sum(c.chapters)::bigint AS chapters, sum(c.characters)::bigint AS characters,
           sum(c.unread)::bigint AS unread, count(*) FILTER (WHERE c.unread > 0) AS books_with_unread
    FROM ({DUE_BOOKS}) due CROSS JOIN LATERAL (
        SELECT count(*) AS chapters, sum(end_offset - start_offset) AS characters, max(embedding_model) AS model,
               max(embedding_version) AS model_version,
               count(*) FILTER (WHERE metadata IS NULL AND metadata_model IS NULL) AS unread
        FROM recent_chapters r WHERE r.book_id = due.book_id AND r.version = due.version) c
    GROUP BY 1, 2 ORDER BY books DESC, 1, 2
"""

# The first by their ids, which are drawn by lot; no more of them than have so many characters, but one.
SELECT_TEXTS_OF_SOME_DUE_BOOKS = f"""
    WITH due AS (SELECT * FROM ({DUE_BOOKS}) d ORDER BY book_id LIMIT %(books)s
    ), sized AS (
        SELECT due.*, sum(c.characters) OVER (ORDER BY due.book_id) - c.characters AS before
        FROM due CROSS JOIN LATERAL (
            SELECT sum(end_offset - start_offset) AS characters FROM recent_chapters r
            WHERE r.book_id = due.book_id AND r.version = due.version) c
    )
    SELECT array_agg(r.content ORDER BY r.chapter_number) AS chapters
    FROM sized JOIN recent_chapters r USING (book_id, version) WHERE sized.before < %(characters)s GROUP BY book_id
"""


def about(model: ModelKey) -> dict[str, Any]:
    """The parameters that name a model."""
    return {"model": model.name, "model_version": model.version}


def is_due(connection: Connection, book_id: UUID, model: ModelKey) -> bool:
    """Whether the book is complete, and its readers see vectors of another model."""
    return connection.execute(IS_BOOK_DUE, about(model) | {"book_id": book_id}).fetchone() is not None


class PostgresOutdatedBooks:
    def __init__(self, database: Database) -> None:
        self._database = database

    def by_model(self, books: Books, model: ModelKey) -> Sequence[Row]:
        with self._database.statements() as connection:
            return connection.execute(COUNT_DUE_BOOKS_BY_MODEL, _of(books) | about(model)).fetchall()

    def some_texts(self, books: Books, model: ModelKey, limit: int, characters: int) -> Sequence[Sequence[str]]:
        where = _of(books) | about(model) | {"books": limit, "characters": characters}
        with self._database.statements() as connection:
            return [r["chapters"] for r in connection.execute(SELECT_TEXTS_OF_SOME_DUE_BOOKS, where)]


def _of(books: Books) -> dict[str, Any]:
    return {"book_id": books.book_id, "owner_uid": books.owner_uid}
