"""The books, as the stages read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.domain.contexts import ChapterMetadata, Mention
from shared.domain.embeddings import EmbeddingModel
from shared.domain.errors import Rejected
from shared.ports import ChapterText, Source

_VERSION = "SELECT {} FROM book_versions WHERE book_id = %s AND version = %s"

_BEGINNING = """
    SELECT left(string_agg(content, '' ORDER BY chapter_number), %(n)s) AS beginning FROM (
        SELECT content, chapter_number, sum(length(content)) OVER (ORDER BY chapter_number) - length(content) AS before
        FROM recent_chapters WHERE book_id = %(book_id)s AND version = %(version)s) c
    WHERE before < %(n)s
"""

_CHAPTERS = """
    SELECT chapter_id, title, content FROM recent_chapters WHERE chapter_id = ANY(%s) ORDER BY chapter_number
"""

_METADATA = """
    SELECT metadata FROM recent_chapters
    WHERE book_id = %s AND version = %s AND metadata IS NOT NULL ORDER BY chapter_number
"""

_MISSING = """
    SELECT chapter_number FROM recent_chapters
    WHERE book_id = %s AND version = %s AND metadata IS NULL ORDER BY chapter_number
"""

_REUSABLE = """
    SELECT DISTINCT ON (content_hash) content_hash, chapter_id FROM recent_chapters
    WHERE book_id = %s AND version < %s AND metadata_model = %s
      AND embedding_model = %s AND embedding_version = %s AND embedding_timestamp IS NOT NULL
    ORDER BY content_hash, version DESC
"""


class PostgresLibrary:
    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, book_id: UUID, version: int) -> Source:
        return Source(**self._version("title, content, force", book_id, version))

    def title(self, book_id: UUID, version: int) -> str:
        return str(self._version("title", book_id, version)["title"])

    def fresh_since(self, book_id: UUID, version: int) -> datetime | None:
        row = self._version("force, created_at", book_id, version)
        return row["created_at"] if row["force"] else None

    def _version(self, columns: str, book_id: UUID, version: int) -> dict[str, Any]:
        with self._database.transaction() as connection:
            row = connection.execute(_VERSION.format(columns), (book_id, version)).fetchone()
        if row is None:
            raise Rejected("the book was deleted")
        return row

    def beginning(self, book_id: UUID, version: int, characters: int) -> str:
        where = {"book_id": book_id, "version": version, "n": characters}
        with self._database.transaction() as connection:
            row = connection.execute(_BEGINNING, where).fetchone()
        return (row and row["beginning"]) or ""

    def chapters(self, chapter_ids: Sequence[UUID]) -> list[ChapterText]:
        with self._database.transaction() as connection:
            rows = connection.execute(_CHAPTERS, (list(chapter_ids),)).fetchall()
        if len(rows) != len(chapter_ids):
            raise Rejected("the chapters were deleted")
        return [ChapterText(**r) for r in rows]

    def metadata(self, book_id: UUID, version: int) -> list[ChapterMetadata]:
        with self._database.transaction() as connection:
            return [_metadata(r["metadata"]) for r in connection.execute(_METADATA, (book_id, version))]

    def missing(self, book_id: UUID, version: int) -> list[int]:
        with self._database.transaction() as connection:
            return [r["chapter_number"] for r in connection.execute(_MISSING, (book_id, version))]

    def reusable(
        self, book_id: UUID, version: int, metadata_model: str, embedding_model: EmbeddingModel
    ) -> dict[bytes, UUID]:
        where = (book_id, version, metadata_model, embedding_model.name, embedding_model.version)
        with self._database.transaction() as connection:
            return {r["content_hash"]: r["chapter_id"] for r in connection.execute(_REUSABLE, where)}


def _metadata(stored: Mapping[str, Any]) -> ChapterMetadata:
    return ChapterMetadata(
        summary=stored["summary"],
        characters=tuple(Mention(**m) for m in stored["characters"]),
        places=tuple(Mention(**m) for m in stored["places"]),
        themes=tuple(stored["themes"]),
        evidence=stored["evidence"],
    )
