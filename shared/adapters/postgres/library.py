"""The books, as the stages read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.domain.books import BookVersion
from shared.domain.contexts import ChapterMetadata, Mention
from shared.domain.embeddings import EmbeddingModel
from shared.domain.errors import Rejected
from shared.ports import ChapterText, Reusable, Source

# The manuscript, or what an import said of it.
SELECT_FROM_VERSION = "SELECT {} FROM book_versions WHERE book_id = %s AND version = %s"

# For the quick context: no more than it reads.
SELECT_BEGINNING_OF_CHAPTERS = """
    SELECT left(string_agg(content, '' ORDER BY chapter_number), %(n)s) AS beginning FROM (
        SELECT content, chapter_number, sum(length(content)) OVER (ORDER BY chapter_number) - length(content) AS before
        FROM recent_chapters WHERE book_id = %(book_id)s AND version = %(version)s) c
    WHERE before < %(n)s
"""

# In the order of the book.
SELECT_CHAPTERS = """
    SELECT chapter_id, title, content FROM recent_chapters WHERE chapter_id = ANY(%s) ORDER BY chapter_number
"""

# What the full context is reduced from.
SELECT_METADATA_IN_ORDER = """
    SELECT metadata FROM recent_chapters
    WHERE book_id = %s AND version = %s AND metadata IS NOT NULL ORDER BY chapter_number
"""

# The full context says which chapters it knows nothing of.
SELECT_NUMBERS_WITHOUT_METADATA = """
    SELECT chapter_number FROM recent_chapters
    WHERE book_id = %s AND version = %s AND metadata IS NULL ORDER BY chapter_number
"""

# What an unchanged chapter has is not paid for again; the newest version's is taken.
SELECT_WHAT_CHAPTERS_OF_EARLIER_VERSIONS_HAVE = """
    SELECT content_hash,
           (array_agg(chapter_id ORDER BY version DESC) FILTER (WHERE metadata_model = %s))[1] AS metadata_of,
           (array_agg(chapter_id ORDER BY version DESC)
            FILTER (WHERE embedding_model = %s AND embedding_version = %s AND embedding_timestamp IS NOT NULL)
           )[1] AS vectors_of
    FROM recent_chapters WHERE book_id = %s AND version < %s GROUP BY content_hash
"""


class PostgresLibrary:
    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, version: BookVersion) -> Source:
        return Source(**self._version("title, content, force", version))

    def title(self, version: BookVersion) -> str:
        return str(self._version("title", version)["title"])

    def fresh_since(self, version: BookVersion) -> datetime | None:
        row = self._version("force, created_at", version)
        return row["created_at"] if row["force"] else None

    def _version(self, columns: str, version: BookVersion) -> dict[str, Any]:
        with self._database.statements() as connection:
            row = connection.execute(SELECT_FROM_VERSION.format(columns), (version.book_id, version.version)).fetchone()
        if row is None:
            raise Rejected("the book was deleted")
        return row

    def beginning(self, version: BookVersion, characters: int) -> str:
        where = {"book_id": version.book_id, "version": version.version, "n": characters}
        with self._database.statements() as connection:
            row = connection.execute(SELECT_BEGINNING_OF_CHAPTERS, where).fetchone()
        return (row and row["beginning"]) or ""

    def chapters(self, chapter_ids: Sequence[UUID]) -> list[ChapterText]:
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_CHAPTERS, (list(chapter_ids),)).fetchall()
        if len(rows) != len(chapter_ids):
            raise Rejected("the chapters were deleted")
        return [ChapterText(**r) for r in rows]

    def metadata(self, version: BookVersion) -> list[ChapterMetadata]:
        with self._database.statements() as connection:
            return [
                _metadata(r["metadata"])
                for r in connection.execute(SELECT_METADATA_IN_ORDER, (version.book_id, version.version))
            ]

    def chapters_without_metadata(self, version: BookVersion) -> list[int]:
        with self._database.statements() as connection:
            return [
                r["chapter_number"]
                for r in connection.execute(SELECT_NUMBERS_WITHOUT_METADATA, (version.book_id, version.version))
            ]

    def reusable(
        self, version: BookVersion, metadata_model: str, embedding_model: EmbeddingModel
    ) -> dict[bytes, Reusable]:
        models = (metadata_model, embedding_model.name, embedding_model.version)
        with self._database.statements() as connection:
            rows = connection.execute(
                SELECT_WHAT_CHAPTERS_OF_EARLIER_VERSIONS_HAVE, (*models, version.book_id, version.version)
            )
            return {r["content_hash"]: Reusable(r["metadata_of"], r["vectors_of"]) for r in rows}


def _metadata(stored: Mapping[str, Any]) -> ChapterMetadata:
    return ChapterMetadata(
        summary=stored["summary"],
        characters=tuple(Mention(**m) for m in stored["characters"]),
        places=tuple(Mention(**m) for m in stored["places"]),
        themes=tuple(stored["themes"]),
        evidence=stored["evidence"],
    )
