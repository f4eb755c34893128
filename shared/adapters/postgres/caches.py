"""What models were paid for, kept for each book: vectors by text, answers by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pgvector import Vector as PgVector
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from shared.adapters.postgres.database import Database, from_column, to_column
from shared.domain.books import BookVersion
from shared.domain.contexts import Refusal
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector

Answer = TypeVar("Answer")

# Where a book may find a vector that was computed for another.
AMONG_BOOKS_OF_OWNER = "v.owner_uid = (SELECT owner_uid FROM books WHERE book_id = %(book_id)s)"
AMONG_ALL_BOOKS = "true"

# The book as it is when the statement writes: of one that is being deleted nothing is kept.
BOOK_UNLESS_IT_IS_GONE = "(SELECT book_id, owner_uid FROM books WHERE book_id = %(book_id)s FOR KEY SHARE) b"

# Of one model, for one use.
OF_MODEL = "v.embedding_model = %(model)s AND v.embedding_version = %(version)s AND v.task = %(task)s"

# The vector that is there already, if any, comes back from RETURNING: after DO NOTHING it would not.
INSERT_INTO_VECTORS = """
    INSERT INTO book_vectors AS v (book_id, content_hash, embedding_model, embedding_version, task, owner_uid,
                                   embedding, created_at, unused_since)
"""
KEY_OF_VECTOR = "book_id, content_hash, embedding_model, embedding_version, task"

# A forced import takes those alone that were computed for it. Otherwise, what another book has this one has from now
# on: it stays when the other goes; unless another job of this one has just kept its own (see UPSERT_VECTORS). LIMIT
# keeps the planner from reading all books of a text that many have.
SELECT_VECTORS_AND_TAKE_THOSE_OF_OTHERS = f"""
    WITH own AS (
        SELECT content_hash, embedding FROM book_vectors v
        WHERE book_id = %(book_id)s AND content_hash = ANY(%(hashes)b::bytea[]) AND {OF_MODEL}
          AND created_at >= coalesce(%(fresh_since)s, '-infinity'::timestamptz)
    ), others AS (
        SELECT h.content_hash, o.embedding, o.created_at FROM unnest(%(hashes)b::bytea[]) AS h (content_hash)
        CROSS JOIN LATERAL (SELECT v.embedding, v.created_at FROM book_vectors v
                            WHERE v.content_hash = h.content_hash AND {{scope}} AND {OF_MODEL} LIMIT 1) o
        WHERE %(fresh_since)s::timestamptz IS NULL AND h.content_hash NOT IN (SELECT content_hash FROM own)
    ), taken AS (
        {INSERT_INTO_VECTORS}
        SELECT b.book_id, content_hash, %(model)s, %(version)s, %(task)s, b.owner_uid, embedding, created_at, %(now)s
        FROM others, {BOOK_UNLESS_IT_IS_GONE} ORDER BY content_hash
        ON CONFLICT ({KEY_OF_VECTOR}) DO UPDATE SET
            embedding = v.embedding
        RETURNING content_hash, embedding
    )
    SELECT content_hash, embedding FROM own UNION ALL SELECT content_hash, embedding FROM taken
"""

# Of two that compute one text at once, the vector that is kept first is the other's too, and is returned: what a chunk
# has is read from here, and a chapter's is made of what the caller has. A forced import replaces what is older than it;
# what is computed for it is not, whatever the clock of the process shows.
# Sorted, so that two writers of the same hashes wait for each other instead of deadlocking.
UPSERT_VECTORS = f"""
    WITH given AS (
        SELECT * FROM unnest(%(hashes)b::bytea[], %(vectors)b::vector[]) AS v (content_hash, embedding)
    ), kept AS (
        {INSERT_INTO_VECTORS}
        SELECT b.book_id, content_hash, %(model)s, %(version)s, %(task)s, b.owner_uid, embedding,
               greatest(%(now)s, %(fresh_since)s), %(now)s
        FROM given, {BOOK_UNLESS_IT_IS_GONE} ORDER BY content_hash
        ON CONFLICT ({KEY_OF_VECTOR}) DO UPDATE SET
            embedding = CASE WHEN v.created_at < %(fresh_since)s THEN excluded.embedding ELSE v.embedding END,
            created_at = CASE WHEN v.created_at < %(fresh_since)s THEN excluded.created_at ELSE v.created_at END
        RETURNING content_hash, embedding
    )
    SELECT kept.* FROM kept JOIN given USING (content_hash) WHERE kept.embedding <> given.embedding
"""

# When a forced import was made; NULL for another.
FORCED_AT = """(SELECT v.created_at FROM book_versions v
                WHERE v.book_id = %(book_id)s AND v.version = %(version)s AND v.force)"""

# What a generating model said of one book; for a forced import, what came after it.
SELECT_ANSWERS_TO_QUESTIONS = f"""
    SELECT question, answer FROM answers
    WHERE book_id = %(book_id)s AND question = ANY(%(questions)s::bytea[]) AND model = %(model)s
      AND created_at >= coalesce({FORCED_AT}, '-infinity'::timestamptz)
"""

# It is no older than the forced import that asked, whatever the clock of the process shows. A book that was deleted
# meanwhile keeps no answer.
UPSERT_ANSWERS_UNLESS_BOOK_IS_GONE = f"""
    INSERT INTO answers (book_id, question, model, answer, created_at)
    SELECT book_id, question, %(model)s, answer, greatest(%(now)s, {FORCED_AT})
    FROM books, unnest(%(questions)s::bytea[], %(answers)s::jsonb[]) AS a (question, answer)
    WHERE book_id = %(book_id)s ORDER BY question
    ON CONFLICT (book_id, question, model) DO UPDATE SET answer = excluded.answer, created_at = excluded.created_at
"""


class PostgresVectorCache:
    """With `shared`, a book finds the vectors of every owner's books; else those of its own owner's."""

    def __init__(self, database: Database, *, shared: bool) -> None:
        self._database = database
        scope = AMONG_ALL_BOOKS if shared else AMONG_BOOKS_OF_OWNER
        self._select = SELECT_VECTORS_AND_TAKE_THOSE_OF_OTHERS.format(scope=scope)

    def find(
        self,
        book_id: UUID,
        hashes: Sequence[bytes],
        model: EmbeddingModel,
        task: EmbeddingTask,
        fresh_since: datetime | None,
        now: datetime,
    ) -> dict[bytes, Vector]:
        where = _key(book_id, model, task) | {"hashes": list(hashes), "fresh_since": fresh_since, "now": now}
        with self._database.statements() as connection:
            rows = connection.execute(self._select, where, binary=True).fetchall()
        return {r["content_hash"]: from_column(r["embedding"], model.dimensions) for r in rows}

    def keep(
        self,
        book_id: UUID,
        vectors: Mapping[bytes, Vector],
        model: EmbeddingModel,
        task: EmbeddingTask,
        fresh_since: datetime | None,
        now: datetime,
    ) -> dict[bytes, Vector]:
        columns: list[PgVector] = [to_column(v) for v in vectors.values()]
        row = _key(book_id, model, task) | {"hashes": list(vectors), "vectors": columns}
        row |= {"fresh_since": fresh_since, "now": now}
        with self._database.statements() as connection:
            others = connection.execute(UPSERT_VECTORS, row, binary=True).fetchall()
        return {**vectors, **{r["content_hash"]: from_column(r["embedding"], model.dimensions) for r in others}}


def _key(book_id: UUID, model: EmbeddingModel, task: EmbeddingTask) -> dict[str, Any]:
    return {"book_id": book_id, "model": model.name, "version": model.version, "task": task}


class PostgresAnswerCache:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._adapters: dict[Any, TypeAdapter[Any]] = {}

    def find(
        self, version: BookVersion, questions: Sequence[bytes], model: str, kind: type[Answer]
    ) -> dict[bytes, Answer | Refusal]:
        with self._database.statements() as connection:
            where = asdict(version) | {"questions": list(questions), "model": model}
            rows = connection.execute(SELECT_ANSWERS_TO_QUESTIONS, where).fetchall()
        known: dict[bytes, Answer | Refusal] = {}
        for row in rows:
            # One of an older shape is asked again.
            with suppress(ValidationError):
                known[row["question"]] = self._adapter_of(kind | Refusal).validate_python(row["answer"])
        return known

    def keep(self, version: BookVersion, answers: Mapping[bytes, object], model: str, now: datetime) -> None:
        kept = [Jsonb(self._adapter_of(type(a)).dump_python(a, mode="json")) for a in answers.values()]
        row = asdict(version) | {"questions": list(answers), "answers": kept, "model": model, "now": now}
        with self._database.statements() as connection:
            connection.execute(UPSERT_ANSWERS_UNLESS_BOOK_IS_GONE, row)

    def _adapter_of(self, kind: Any) -> TypeAdapter[Any]:
        if kind not in self._adapters:
            # Kept: making one takes milliseconds.
            self._adapters[kind] = TypeAdapter(kind)
        return self._adapters[kind]
