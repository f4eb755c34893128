"""The text of a version: its chapters, their passages, and the vectors of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.adapters.postgres.database import Database
from shared.domain.books import BookVersion

# What the extractor left for itself is internal, and not returned.
SELECT_CHAPTER_WITH_ITS_TEXT = """
    SELECT chapter_id, chapter_number AS number, title, content AS text, word_count, start_offset, end_offset,
           metadata - 'evidence' AS metadata, embedding_model, embedding_version,
           CASE WHEN %(vectors)s THEN subvector(embedding_vector, 1, dimensions_of_code(embedding_vector)) END AS vector
    FROM recent_chapters WHERE book_id = %(book_id)s AND version = %(version)s AND chapter_number = %(number)s
"""

SELECT_PASSAGES_OF_CHAPTER = """
    SELECT k.chunk_index, r.start_offset + k.start_offset AS start_offset, r.start_offset + k.end_offset AS end_offset,
           k.word_count, k.chunk_text AS text, k.embedding_model, k.embedding_version,
           CASE WHEN %(vectors)s THEN subvector(k.chunk_embedding, 1, dimensions_of_code(k.chunk_embedding)) END
               AS vector
    FROM chapter_chunks k JOIN recent_chapters r USING (chapter_id)
    WHERE k.chapter_id = %(chapter_id)s ORDER BY k.chunk_index
"""

SELECT_NUMBERS_OF_CHAPTERS = """
    SELECT chapter_number FROM recent_chapters WHERE book_id = %(book_id)s AND version = %(version)s
    ORDER BY chapter_number
"""


class PostgresTexts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def numbers(self, version: BookVersion) -> Sequence[int]:
        with self._database.statements() as connection:
            return [row["chapter_number"] for row in connection.execute(SELECT_NUMBERS_OF_CHAPTERS, _of(version))]

    def chapter(self, version: BookVersion, number: int, *, vectors: bool = False) -> Mapping[str, Any] | None:
        where = {**_of(version), "number": number, "vectors": vectors}
        with self._database.statements() as connection:
            row = connection.execute(SELECT_CHAPTER_WITH_ITS_TEXT, where).fetchone()
        return row and _readable(row, vectors)

    def passages(self, chapter: Mapping[str, Any], *, vectors: bool = False) -> Sequence[Mapping[str, Any]]:
        where = {"chapter_id": chapter["chapter_id"], "vectors": vectors}
        with self._database.statements() as connection:
            return [_readable(row, vectors) for row in connection.execute(SELECT_PASSAGES_OF_CHAPTER, where)]


def _of(version: BookVersion) -> dict[str, Any]:
    return {"book_id": version.book_id, "version": version.version}


def _readable(row: dict[str, Any], vectors: bool) -> dict[str, Any]:
    """With its vector as a list of numbers, if that was asked for."""
    vector = row.pop("vector")
    return row | {"vector": vector and vector.to_list()} if vectors else row
