"""Which of a book's vectors its chunks have, inside the transactions that write and drop chunks.

Those that no chunk has any more, or never had, are kept for some time: an attempt may come again, or an author's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from shared.adapters.postgres.database import Connection
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask

# Sorted, so that two attempts at one book wait for each other instead of deadlocking. By an array, so that the planner
# looks each of them up instead of comparing them with all that the book has.
MARK_VECTORS_USED = """
    UPDATE book_vectors v SET unused_since = NULL
    WHERE v.book_id = %(book_id)s AND v.embedding_model = %(model)s AND v.embedding_version = %(version)s
      AND v.task = %(task)s AND v.content_hash = ANY(ARRAY(
          SELECT content_hash FROM book_vectors
          WHERE book_id = %(book_id)s AND content_hash = ANY(%(hashes)b::bytea[]) AND embedding_model = %(model)s
            AND embedding_version = %(version)s AND task = %(task)s AND unused_since IS NOT NULL
          ORDER BY content_hash FOR NO KEY UPDATE))
"""

# A chunk's text tells which vector it has. Sorted, as above.
MARK_VECTORS_UNUSED_THAT_NO_CHUNK_HAS = """
    WITH used AS MATERIALIZED (
        SELECT r.book_id, sha256(convert_to(k.chunk_text, 'UTF8')) AS content_hash, k.embedding_model,
               k.embedding_version
        FROM recent_chapters r JOIN chapter_chunks k USING (chapter_id) WHERE r.book_id = ANY(%(books)s)
    ), unused AS MATERIALIZED (
        SELECT v.book_id, v.content_hash, v.embedding_model, v.embedding_version, v.task FROM book_vectors v
        WHERE v.book_id = ANY(%(books)s) AND v.unused_since IS NULL
          AND NOT EXISTS (SELECT 1 FROM used u WHERE u.book_id = v.book_id AND u.content_hash = v.content_hash
                          AND u.embedding_model = v.embedding_model AND u.embedding_version = v.embedding_version)
        ORDER BY v.book_id, v.content_hash FOR NO KEY UPDATE OF v
    )
    UPDATE book_vectors v SET unused_since = %(now)s FROM unused u
    WHERE v.book_id = u.book_id AND v.content_hash = u.content_hash AND v.embedding_model = u.embedding_model
      AND v.embedding_version = u.embedding_version AND v.task = u.task
"""


def mark_used(connection: Connection, book_id: UUID, hashes: Iterable[bytes], model: EmbeddingModel) -> None:
    """Note that chunks of the book have the vectors of these texts."""
    key = {"book_id": book_id, "model": model.name, "version": model.version, "task": EmbeddingTask.DOCUMENT}
    connection.execute(MARK_VECTORS_USED, key | {"hashes": sorted(set(hashes))})


def mark_unused(connection: Connection, book_ids: Sequence[UUID], now: datetime) -> None:
    """Note which vectors of these books no chunk has any more: to be called after chunks were deleted."""
    connection.execute(MARK_VECTORS_UNUSED_THAT_NO_CHUNK_HAS, {"books": list(book_ids), "now": now})
