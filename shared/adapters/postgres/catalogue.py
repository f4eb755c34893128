"""What the API reads. Every statement filters by owner: a book of someone else's is not there.

An owner of None stands for an administrator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database, to_column
from shared.domain.embeddings import EmbeddingModel, Vector
from shared.domain.ranking import Candidate

Row = Mapping[str, Any]

_STATUS = """
    SELECT s.*, (SELECT max(max_attempts) FROM jobs j WHERE j.book_id = b.book_id AND j.version = s.version
                 AND j.state = 'retrying') AS max_attempts,
           b.title, b.owner_uid, b.current_version, b.google_doc_id, b.total_word_count, c.*
    FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE r.metadata IS NOT NULL) AS processed,
               count(*) FILTER (WHERE r.embedding_timestamp IS NOT NULL) AS embedded,
               count(*) FILTER (WHERE cs.status = 'completed') AS done,
               count(*) FILTER (WHERE cs.status = 'failed') AS failed
        FROM recent_chapters r
        JOIN processing_status cs ON cs.entity_type = 'chapter' AND cs.entity_id = r.chapter_id
        WHERE r.book_id = b.book_id AND r.version = s.version) c
    WHERE b.book_id = %(id)s AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

_JOB = """
    SELECT j.* FROM jobs j JOIN books b USING (book_id)
    WHERE j.job_id = %(id)s AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

# Pages by key: (created_at, book_id) of the last book of the page before.
_BOOKS = """
    SELECT b.*, s.status, s.progress, s.phase
    FROM books b JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.owner_uid = %(owner)s
      AND (%(after)s::uuid IS NULL
           OR (b.created_at, b.book_id) < (SELECT created_at, book_id FROM books
                                              WHERE book_id = %(after)s AND owner_uid = %(owner)s))
    ORDER BY b.created_at DESC, b.book_id DESC LIMIT %(limit)s
"""

# Readers see the current version; before there is one, the one that is being built.
_READABLE = """
    SELECT b.book_id, coalesce(b.current_version, b.latest_version) AS version, v.title, v.split_method
    FROM books b JOIN book_versions v
      ON v.book_id = b.book_id AND v.version = coalesce(b.current_version, b.latest_version)
    WHERE b.book_id = %s AND b.owner_uid = %s
"""
_CONTEXT = """
    SELECT context, mode, model FROM book_contexts WHERE book_id = %s AND version = %s
    ORDER BY mode = 'full' DESC LIMIT 1
"""
_CHAPTERS = """
    SELECT r.chapter_id, r.chapter_number, r.title, r.word_count, r.start_offset, r.end_offset,
           s.status, s.error, r.metadata - 'evidence' AS metadata
    FROM recent_chapters r
    JOIN processing_status s ON s.entity_type = 'chapter' AND s.entity_id = r.chapter_id
    WHERE r.book_id = %s AND r.version = %s ORDER BY r.chapter_number
"""

# The nearest by meaning and the best by terms, both scores for each of them.
_SEARCH = """
    WITH query AS (
        SELECT replace(plainto_tsquery('english', %(text)s)::text, '&', '|')::tsquery AS terms
    ), by_meaning AS (
        SELECT k.chapter_id, k.chunk_index FROM chapter_chunks k
        JOIN recent_chapters r USING (chapter_id)
        JOIN books b ON b.book_id = r.book_id AND b.current_version = r.version
        WHERE b.owner_uid = %(owner)s AND (%(book_id)s::uuid IS NULL OR b.book_id = %(book_id)s)
          AND k.embedding_model = %(model)s AND k.embedding_version = %(model_version)s
        ORDER BY k.chunk_embedding <=> %(vector)s LIMIT %(limit)s
    ), by_terms AS (
        SELECT k.chapter_id, k.chunk_index FROM chapter_chunks k
        JOIN recent_chapters r USING (chapter_id)
        JOIN books b ON b.book_id = r.book_id AND b.current_version = r.version, query
        WHERE b.owner_uid = %(owner)s AND (%(book_id)s::uuid IS NULL OR b.book_id = %(book_id)s)
          AND k.embedding_model = %(model)s AND k.embedding_version = %(model_version)s
          AND k.search_terms @@ query.terms
        ORDER BY ts_rank(k.search_terms, query.terms) DESC LIMIT %(limit)s
    )
    SELECT r.book_id, v.title AS book_title, r.chapter_id, r.chapter_number, r.title AS chapter_title,
           k.chunk_index, k.chunk_text AS passage, r.start_offset + k.start_offset AS start_offset,
           r.start_offset + k.end_offset AS end_offset,
           1 - (k.chunk_embedding <=> %(vector)s) AS similarity,
           ts_rank(k.search_terms, query.terms) AS text_rank
    FROM (SELECT * FROM by_meaning UNION SELECT * FROM by_terms) AS found
    JOIN chapter_chunks k USING (chapter_id, chunk_index)
    JOIN recent_chapters r USING (chapter_id)
    JOIN book_versions v ON v.book_id = r.book_id AND v.version = r.version, query
"""


class PostgresCatalogue:
    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self, owner_uid: str | None, book_id: UUID) -> Row | None:
        return self._one(_STATUS, {"id": book_id, "owner": owner_uid})

    def job(self, owner_uid: str | None, job_id: str) -> Row | None:
        return self._one(_JOB, {"id": job_id, "owner": owner_uid})

    def books(self, owner_uid: str, after: UUID | None, limit: int) -> Sequence[Row]:
        return self._all(_BOOKS, {"owner": owner_uid, "after": after, "limit": limit})

    def readable(self, owner_uid: str, book_id: UUID) -> Row | None:
        """The version that readers see: `book_id, version, title, split_method`."""
        return self._one(_READABLE, (book_id, owner_uid))

    def context(self, book_id: UUID, version: int) -> Row | None:
        """The full context, or the quick one while there is no other."""
        return self._one(_CONTEXT, (book_id, version))

    def chapters(self, book_id: UUID, version: int) -> Sequence[Row]:
        return self._all(_CHAPTERS, (book_id, version))

    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vector: Vector, model: EmbeddingModel, limit: int
    ) -> list[Candidate]:
        """At most `limit` nearest by meaning and `limit` best by terms, of current versions."""
        where = {
            "owner": owner_uid,
            "book_id": book_id,
            "text": text,
            "vector": to_column(vector),
            "model": model.name,
            "model_version": model.version,
            "limit": limit,
        }
        return [Candidate(**row) for row in self._all(_SEARCH, where)]

    def _one(self, query: str, where: Any) -> Row | None:
        with self._database.transaction() as connection:
            return connection.execute(query, where).fetchone()

    def _all(self, query: str, where: Any) -> Sequence[Row]:
        with self._database.transaction() as connection:
            return connection.execute(query, where).fetchall()
