"""The books, as the stages read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.domain.books import BookVersion, Cause
from shared.domain.contexts import ChapterMetadata, Mention
from shared.domain.embeddings import EmbeddingModel, ModelKey
from shared.domain.errors import Rejected
from shared.domain.splitting.chapters import Section, SectionKind, Split, SplitMethod, with_matter
from shared.ports import ChapterText, Reusable, Source, VectorsWanted

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
           (array_agg(chapter_id ORDER BY version DESC)
            FILTER (WHERE metadata_model = coalesce(%s, metadata_model)))[1] AS metadata_of,
           (array_agg(chapter_id ORDER BY version DESC)
            FILTER (WHERE embedding_model = %s AND embedding_version = %s AND embedding_timestamp IS NOT NULL)
           )[1] AS vectors_of
    FROM recent_chapters WHERE book_id = %s AND version < %s GROUP BY content_hash
"""

# Where the chapters stand that readers know.
SELECT_SPLIT_OF_VERSION_THAT_READERS_SEE = """
    SELECT v.split_method, length(v.content) AS length, r.chapter_number, r.title, r.start_offset, r.end_offset
    FROM books b JOIN book_versions v ON v.book_id = b.book_id AND v.version = b.current_version
    JOIN recent_chapters r ON r.book_id = v.book_id AND r.version = v.version
    WHERE b.book_id = %s ORDER BY r.chapter_number
"""

# Of the same chapters, as many have metadata. What comes after readers see it changes its own context.
IS_AS_MUCH_KNOWN_AS_READERS_SEE = """
    SELECT 1 FROM book_versions v JOIN books b USING (book_id)
    JOIN book_contexts c ON c.book_id = b.book_id AND c.version = b.current_version AND c.mode = 'full'
    WHERE v.book_id = %s AND v.version = %s AND v.cause = 'reembed' AND b.current_version < v.version
      AND (SELECT count(r.metadata) FROM recent_chapters r WHERE r.book_id = v.book_id AND r.version = v.version)
        = (SELECT count(r.metadata) FROM recent_chapters r WHERE r.book_id = v.book_id AND r.version = c.version)
"""


class PostgresLibrary:
    def __init__(self, database: Database) -> None:
        self._database = database

    def source(self, version: BookVersion) -> Source:
        row = self._version("title, content, force, cause, embedding_model, embedding_version", version)
        source = {"title": row["title"], "content": row["content"], "force": row["force"]}
        return Source(**source, cause=Cause(row["cause"]), embedding_model=_model(row))

    def title(self, version: BookVersion) -> str:
        return str(self._version("title", version)["title"])

    def vectors_wanted(self, version: BookVersion) -> VectorsWanted:
        row = self._version("force, created_at, embedding_model, embedding_version", version)
        return VectorsWanted(model=_model(row), fresh_since=_fresh_since(row))

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
        self, version: BookVersion, metadata_model: str | None, embedding_model: EmbeddingModel
    ) -> dict[bytes, Reusable]:
        models = (metadata_model, embedding_model.name, embedding_model.version)
        with self._database.statements() as connection:
            rows = connection.execute(
                SELECT_WHAT_CHAPTERS_OF_EARLIER_VERSIONS_HAVE, (*models, version.book_id, version.version)
            )
            return {r["content_hash"]: Reusable(r["metadata_of"], r["vectors_of"]) for r in rows}

    def split_of_readers(self, version: BookVersion) -> Split:
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_SPLIT_OF_VERSION_THAT_READERS_SEE, (version.book_id,)).fetchall()
        if not rows:
            raise Rejected("the book was deleted")
        return _split(rows)

    def keeps_context(self, version: BookVersion) -> bool:
        with self._database.statements() as connection:
            where = (version.book_id, version.version)
            return connection.execute(IS_AS_MUCH_KNOWN_AS_READERS_SEE, where).fetchone() is not None


def _fresh_since(row: Mapping[str, Any]) -> datetime | None:
    return row["created_at"] if row["force"] else None


def _model(row: Mapping[str, Any]) -> ModelKey | None:
    name = row["embedding_model"]
    return None if name is None else ModelKey(name=name, version=row["embedding_version"])


def _split(rows: Sequence[Mapping[str, Any]]) -> Split:
    chapters = [
        Section(
            kind=SectionKind.CHAPTER,
            number=r["chapter_number"],
            title=r["title"],
            start=r["start_offset"],
            end=r["end_offset"],
        )
        for r in rows
    ]
    sections = with_matter(chapters, rows[0]["length"])
    return Split(sections=tuple(sections), method=SplitMethod(rows[0]["split_method"]))


def _metadata(stored: Mapping[str, Any]) -> ChapterMetadata:
    return ChapterMetadata(
        summary=stored["summary"],
        characters=tuple(Mention(**m) for m in stored["characters"]),
        places=tuple(Mention(**m) for m in stored["places"]),
        themes=tuple(stored["themes"]),
        evidence=stored["evidence"],
    )
