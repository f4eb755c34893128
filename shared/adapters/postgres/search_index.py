"""Search by meaning and words together. The statement filters by owner: a book of someone else's is not there."""

from __future__ import annotations

from uuid import UUID

from shared.adapters.postgres.database import Database, to_column
from shared.domain.embeddings import EmbeddingModel, Vector
from shared.domain.ranking import Candidate

# The nearest by meaning and the best by terms, both scores for each of them.
SELECT_CANDIDATES_OF_OWNER = """
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


class PostgresSearchIndex:
    def __init__(self, database: Database) -> None:
        self._database = database

    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vector: Vector, model: EmbeddingModel, limit: int
    ) -> list[Candidate]:
        where = {
            "owner": owner_uid,
            "book_id": book_id,
            "text": text,
            "vector": to_column(vector),
            "model": model.name,
            "model_version": model.version,
            "limit": limit,
        }
        with self._database.statements() as connection:
            return [Candidate(**row) for row in connection.execute(SELECT_CANDIDATES_OF_OWNER, where)]
