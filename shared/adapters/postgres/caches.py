"""Caches of what models were paid for: vectors by text, answers by book and question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pgvector import Vector as PgVector
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from shared.adapters.postgres.database import Database, from_column, to_column
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector

Answer = TypeVar("Answer")

# A forced import takes those alone that were kept since it was made.
SELECT_VECTORS_BY_HASH = """
    SELECT content_hash, embedding FROM embedding_cache
    WHERE content_hash = ANY(%s) AND embedding_model = %s AND embedding_version = %s AND task = %s
      AND created_at >= coalesce(%s, '-infinity'::timestamptz)
"""

# Sorted, so that two writers of the same hashes wait for each other instead of deadlocking.
UPSERT_VECTORS = """
    INSERT INTO embedding_cache (content_hash, embedding, embedding_model, embedding_version, task, created_at)
    SELECT content_hash, embedding, %s, %s, %s, %s
    FROM unnest(%b::bytea[], %b::vector[]) AS v (content_hash, embedding) ORDER BY content_hash
    ON CONFLICT (content_hash, embedding_model, embedding_version, task)
    DO UPDATE SET embedding = excluded.embedding, created_at = excluded.created_at
"""

# As above, for what a generating model said of one book.
SELECT_ANSWER_TO_QUESTION = """
    SELECT answer FROM answers WHERE book_id = %s AND question = %s AND model = %s
      AND created_at >= coalesce(%s, '-infinity'::timestamptz)
"""

# A book that was deleted meanwhile keeps no answer.
UPSERT_ANSWER_UNLESS_BOOK_IS_GONE = """
    INSERT INTO answers (book_id, question, model, answer, created_at)
    SELECT book_id, %(question)s, %(model)s, %(answer)s, %(now)s FROM books WHERE book_id = %(book_id)s
    ON CONFLICT (book_id, question, model) DO UPDATE SET answer = excluded.answer, created_at = excluded.created_at
"""


class PostgresVectorCache:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self, hashes: Sequence[bytes], model: EmbeddingModel, task: EmbeddingTask, fresh_since: datetime | None
    ) -> dict[bytes, Vector]:
        where = (list(hashes), model.name, model.version, task, fresh_since)
        with self._database.statements() as connection:
            rows = connection.execute(SELECT_VECTORS_BY_HASH, where, binary=True).fetchall()
        return {r["content_hash"]: from_column(r["embedding"], model.dimensions) for r in rows}

    def keep(self, vectors: Mapping[bytes, Vector], model: EmbeddingModel, task: EmbeddingTask, now: datetime) -> None:
        columns: list[PgVector] = [to_column(v) for v in vectors.values()]
        row = (model.name, model.version, task, now, list(vectors), columns)
        with self._database.statements() as connection:
            connection.execute(UPSERT_VECTORS, row)


class PostgresAnswerCache:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._adapters: dict[type[Any], TypeAdapter[Any]] = {}

    def find(
        self, book_id: UUID, question: bytes, model: str, kind: type[Answer], fresh_since: datetime | None
    ) -> Answer | None:
        with self._database.statements() as connection:
            row = connection.execute(SELECT_ANSWER_TO_QUESTION, (book_id, question, model, fresh_since)).fetchone()
        try:
            return self._adapter_of(kind).validate_python(row["answer"]) if row else None
        except ValidationError:
            return None  # of an older shape: it is asked again

    def keep(self, book_id: UUID, question: bytes, model: str, answer: object, now: datetime) -> None:
        kept: Any = self._adapter_of(type(answer)).dump_python(answer, mode="json")
        row = {"book_id": book_id, "question": question, "model": model, "answer": Jsonb(kept), "now": now}
        with self._database.statements() as connection:
            connection.execute(UPSERT_ANSWER_UNLESS_BOOK_IS_GONE, row)

    def _adapter_of(self, kind: type[Any]) -> TypeAdapter[Any]:
        if kind not in self._adapters:
            # Kept: making one takes milliseconds.
            self._adapters[kind] = TypeAdapter(kind)
        return self._adapters[kind]
