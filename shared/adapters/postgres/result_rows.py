"""Writes what stages found out, inside the transaction that ends the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import singledispatch
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres import vector_rows
from shared.adapters.postgres.database import Connection, to_column
from shared.adapters.postgres.old_versions import mark_due
from shared.adapters.postgres.tombstones import add_chapter_tombstones
from shared.domain.embeddings import EmbeddingTask
from shared.domain.jobs import Job
from shared.domain.results import (
    BookCompleted,
    BookSplit,
    ChaptersEmbedded,
    ChaptersProcessed,
    ContextExtracted,
    ContextKept,
    EmbeddedChapter,
    NewChapter,
    QuickContextBlocked,
)

# How it was split, what stands around the chapters, and of which model all its vectors are from now on.
UPDATE_VERSION_WITH_ITS_SPLIT = """
    UPDATE book_versions SET split_method = %s, front_matter = %s, back_matter = %s, embedding_model = %s,
        embedding_version = %s
    WHERE book_id = %s AND version = %s
"""

# The fastest way to write many rows.
COPY_CHAPTERS = """COPY recent_chapters (chapter_id, book_id, version, chapter_number, title, content,
    content_hash, start_offset, end_offset, word_count) FROM STDIN"""

# Every chapter has a status from its first moment; one whose metadata is reused may lack what a model refused.
INSERT_STATUSES_OF_CHAPTERS = """
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, phase, created_at, updated_at,
                                   lacks_metadata)
    SELECT 'chapter', chapter_id, book_id, version, 'metadata', %(now)s, %(now)s,
           CASE WHEN metadata IS NULL AND metadata_model IS NOT NULL THEN 'blocked' END
    FROM recent_chapters WHERE book_id = %(book_id)s AND version = %(version)s
"""

# Their documents tell of the new version's chapters now.
MARK_CHAPTERS_OF_OLDER_VERSIONS_PROJECTED = """
    UPDATE processing_status SET projected_revision = revision
    WHERE entity_type = 'chapter' AND book_id = %(book_id)s AND version < %(version)s AND projected_revision < revision
"""

# An unchanged chapter keeps what an earlier version paid for.
COPY_METADATA_OF_SAME_CHAPTERS = """
    UPDATE recent_chapters new SET metadata = old.metadata, metadata_model = old.metadata_model
    FROM recent_chapters old, unnest(%(new)s::uuid[], %(old)s::uuid[]) AS pair (new_id, old_id)
    WHERE new.chapter_id = pair.new_id AND old.chapter_id = pair.old_id
"""

# The same for its vector.
COPY_VECTOR_OF_SAME_CHAPTERS = """
    UPDATE recent_chapters new SET
        embedding_vector = old.embedding_vector, embedding_model = old.embedding_model,
        embedding_version = old.embedding_version, embedding_timestamp = old.embedding_timestamp
    FROM recent_chapters old, unnest(%(new)s::uuid[], %(old)s::uuid[]) AS pair (new_id, old_id)
    WHERE new.chapter_id = pair.new_id AND old.chapter_id = pair.old_id
"""

# So that retention drops none of them meanwhile.
LOCK_CHAPTERS_THAT_ARE_REUSED = (
    "SELECT 1 FROM recent_chapters WHERE chapter_id = ANY(%s) ORDER BY chapter_id FOR KEY SHARE"
)

# And those of its passages.
COPY_CHUNKS_OF_SAME_CHAPTERS = """
    INSERT INTO chapter_chunks (chapter_id, chunk_index, chunk_text, chunk_embedding, word_count,
                                start_offset, end_offset, embedding_model, embedding_version)
    SELECT pair.new_id, chunk_index, chunk_text, chunk_embedding, word_count,
           start_offset, end_offset, embedding_model, embedding_version
    FROM chapter_chunks, unnest(%(new)s::uuid[], %(old)s::uuid[]) AS pair (new_id, old_id)
    WHERE chapter_id = pair.old_id
"""

# A redrive makes it again.
UPSERT_CONTEXT = """
    INSERT INTO book_contexts (book_id, version, mode, model, context) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (book_id, version, mode) DO UPDATE SET model = excluded.model, context = excluded.context
"""

# The one that readers see, whichever model made it.
COPY_CONTEXT_THAT_READERS_SEE = """
    INSERT INTO book_contexts (book_id, version, mode, model, context)
    SELECT c.book_id, %(version)s, c.mode, c.model, c.context
    FROM book_contexts c JOIN books b ON b.book_id = c.book_id AND b.current_version = c.version
    WHERE c.book_id = %(book_id)s AND c.mode = 'full'
    ON CONFLICT (book_id, version, mode) DO UPDATE SET model = excluded.model, context = excluded.context
"""

# With the model that made it, or that refused to, so that another model's is not reused.
UPDATE_METADATA_OF_CHAPTERS = """
    UPDATE recent_chapters r SET metadata = m.metadata, metadata_model = %(model)s
    FROM (SELECT c.chapter_id, n.metadata FROM recent_chapters c
          JOIN unnest(%(chapter_ids)s::uuid[], %(metadata)s::jsonb[]) AS n (chapter_id, metadata) USING (chapter_id)
          ORDER BY c.chapter_id FOR NO KEY UPDATE OF c) m
    WHERE r.chapter_id = m.chapter_id
"""

# A redrive embeds them again.
DELETE_CHUNKS_OF_CHAPTERS = "DELETE FROM chapter_chunks WHERE chapter_id = ANY(%s)"

# The book has the vectors already: they do not travel a second time. LIMIT keeps the planner, which can't know how
# many chunks there are, from reading all of them instead of looking each up.
INSERT_CHUNKS_WITH_CACHED_VECTORS = """
    INSERT INTO chapter_chunks (chapter_id, chunk_index, chunk_text, chunk_embedding, word_count,
                                start_offset, end_offset, embedding_model, embedding_version)
    SELECT k.chapter_id, k.chunk_index, k.chunk_text, e.embedding, k.word_count, k.start_offset, k.end_offset,
           %(model)s, %(version)s
    FROM unnest(%(chapter_ids)b::uuid[], %(indexes)b::int[], %(texts)b::text[], %(words)b::int[],
                %(starts)b::int[], %(ends)b::int[], %(hashes)b::bytea[])
         AS k (chapter_id, chunk_index, chunk_text, word_count, start_offset, end_offset, content_hash)
    CROSS JOIN LATERAL (
        SELECT embedding FROM book_vectors v
        WHERE v.book_id = %(book_id)s AND v.content_hash = k.content_hash AND v.embedding_model = %(model)s
          AND v.embedding_version = %(version)s AND v.task = %(task)s LIMIT 1) e
"""

# The vectors of whole chapters: books are embedded at two levels. In the order of their ids, as all who lock several.
UPDATE_VECTORS_OF_CHAPTERS = """
    UPDATE recent_chapters r SET embedding_vector = e.embedding, embedding_model = %(model)s,
        embedding_version = %(version)s, embedding_timestamp = %(now)s
    FROM (SELECT c.chapter_id, n.embedding FROM recent_chapters c
          JOIN unnest(%(chapter_ids)s::uuid[], %(vectors)b::vector[]) AS n (chapter_id, embedding) USING (chapter_id)
          ORDER BY c.chapter_id FOR NO KEY UPDATE OF c) e
    WHERE r.chapter_id = e.chapter_id
"""

# The moment that readers and search see it. One that lacks chapters takes no complete one's place, unless that was
# asked for.
SWITCH_READERS_TO_VERSION = """
    UPDATE books SET current_version = %(version)s, title = v.title, updated_at = %(now)s,
        total_word_count = (SELECT coalesce(sum(word_count), 0) FROM recent_chapters
                            WHERE book_id = %(book_id)s AND version = %(version)s)
    FROM book_versions v
    WHERE books.book_id = %(book_id)s AND v.book_id = books.book_id AND v.version = %(version)s
      AND (v.allow_partial OR current_version IS NULL
           OR NOT EXISTS (SELECT 1 FROM recent_chapters r WHERE r.book_id = %(book_id)s AND r.version = %(version)s
                          AND r.embedding_timestamp IS NULL)
           OR EXISTS (SELECT 1 FROM recent_chapters r WHERE r.book_id = %(book_id)s AND r.version = current_version
                      AND r.embedding_timestamp IS NULL))
"""

# From when it was complete.
MARK_VERSION_COMPLETED = (
    "UPDATE book_versions SET completed_at = %(now)s WHERE book_id = %(book_id)s AND version = %(version)s"
)


@singledispatch
def write(result: Any, connection: Connection, job: Job, now: datetime) -> None:
    """Write one result. The job's own row is not touched."""
    raise TypeError(f"no writer for {type(result).__name__}")


@write.register
def _(result: BookSplit, connection: Connection, job: Job, now: datetime) -> None:
    connection.execute(
        UPDATE_VERSION_WITH_ITS_SPLIT,
        (
            *(result.method, result.front_matter, result.back_matter, result.model.name, result.model.version),
            *(job.book_id, job.version),
        ),
    )
    with connection.cursor().copy(COPY_CHAPTERS) as copy:
        for c in result.chapters:
            copy.write_row(_chapter_row(job, c))
    this_version = {"book_id": job.book_id, "version": job.version, "now": now}
    if job.version > 1:
        add_chapter_tombstones(connection, job.book_id, len(result.chapters), now)
        connection.execute(MARK_CHAPTERS_OF_OLDER_VERSIONS_PROJECTED, this_version)
    _reuse(connection, result.chapters)
    connection.execute(INSERT_STATUSES_OF_CHAPTERS, this_version)


def _reuse(connection: Connection, chapters: Sequence[NewChapter]) -> None:
    metadata: dict[UUID, UUID] = {c.chapter_id: c.metadata_of for c in chapters if c.metadata_of is not None}
    vectors: dict[UUID, UUID] = {c.chapter_id: c.vectors_of for c in chapters if c.vectors_of is not None}
    old = {*metadata.values(), *vectors.values()}
    if not old:
        return
    # Retention may have dropped their version meanwhile: then this is tried again, and they are computed.
    if connection.execute(LOCK_CHAPTERS_THAT_ARE_REUSED, (list(old),)).rowcount != len(old):
        raise RuntimeError("a chapter that was to be reused is gone")
    connection.execute(COPY_METADATA_OF_SAME_CHAPTERS, _pairs(metadata))
    connection.execute(COPY_VECTOR_OF_SAME_CHAPTERS, _pairs(vectors))
    connection.execute(COPY_CHUNKS_OF_SAME_CHAPTERS, _pairs(vectors))


def _pairs(old_by_new: Mapping[UUID, UUID]) -> dict[str, list[UUID]]:
    return {"new": list(old_by_new), "old": list(old_by_new.values())}


def _chapter_row(job: Job, c: NewChapter) -> tuple[Any, ...]:
    place = (c.chapter_id, job.book_id, job.version, c.number)
    return (*place, c.title, c.content, c.content_hash, c.start, c.end, c.word_count)


@write.register
def _(result: ContextExtracted, connection: Connection, job: Job, now: datetime) -> None:
    context = {**asdict(result.context), "missing_chapters": list(result.missing_chapters)}
    context["reduced_because"] = result.reduced_because
    connection.execute(UPSERT_CONTEXT, (job.book_id, job.version, result.mode, result.model, Jsonb(context)))


@write.register
def _(result: ContextKept, connection: Connection, job: Job, now: datetime) -> None:
    where = {"book_id": job.book_id, "version": job.version}
    if not connection.execute(COPY_CONTEXT_THAT_READERS_SEE, where).rowcount:
        raise RuntimeError("the context that was to be kept is gone")


@write.register
def _(result: QuickContextBlocked, connection: Connection, job: Job, now: datetime) -> None:
    """There is nothing to write: readers have none until the full context is there."""


@write.register
def _(result: ChaptersProcessed, connection: Connection, job: Job, now: datetime) -> None:
    metadata: dict[UUID, Jsonb | None] = {i: Jsonb(asdict(found)) for i, found in result.metadata.items()}
    metadata |= dict.fromkeys(result.blocked)
    columns = {"chapter_ids": list(metadata), "metadata": list(metadata.values()), "model": result.model}
    connection.execute(UPDATE_METADATA_OF_CHAPTERS, columns)


@write.register
def _(result: ChaptersEmbedded, connection: Connection, job: Job, now: datetime) -> None:
    model = result.model
    replaced = connection.execute(DELETE_CHUNKS_OF_CHAPTERS, ([c.chapter_id for c in result.chapters],)).rowcount
    of_model = {"model": model.name, "version": model.version, "now": now}
    chunks = _chunk_columns(result.chapters)
    book = {"book_id": job.book_id, "task": EmbeddingTask.DOCUMENT}
    written = connection.execute(INSERT_CHUNKS_WITH_CACHED_VECTORS, chunks | of_model | book).rowcount
    if written != len(chunks["texts"]):
        raise RuntimeError(f"{len(chunks['texts']) - written} vectors are missing")
    chapter_ids, vectors = [c.chapter_id for c in result.chapters], [to_column(c.vector) for c in result.chapters]
    connection.execute(UPDATE_VECTORS_OF_CHAPTERS, {"chapter_ids": chapter_ids, "vectors": vectors} | of_model)
    vector_rows.mark_used(connection, job.book_id, (h for c in result.chapters for h in c.hashes), model)
    if replaced:
        vector_rows.mark_unused(connection, [job.book_id], now)


def _chunk_columns(chapters: Sequence[EmbeddedChapter]) -> dict[str, list[Any]]:
    chunks = [(c.chapter_id, k, h) for c in chapters for k, h in zip(c.chunks, c.hashes, strict=True)]
    return {
        "chapter_ids": [chapter_id for chapter_id, _, _ in chunks],
        "indexes": [k.index for _, k, _ in chunks],
        "texts": [k.text for _, k, _ in chunks],
        "words": [k.word_count for _, k, _ in chunks],
        "starts": [k.start for _, k, _ in chunks],
        "ends": [k.end for _, k, _ in chunks],
        "hashes": [h for _, _, h in chunks],
    }


@write.register
def _(result: BookCompleted, connection: Connection, job: Job, now: datetime) -> None:
    where = {"book_id": job.book_id, "version": job.version, "now": now}
    connection.execute(SWITCH_READERS_TO_VERSION, where)
    connection.execute(MARK_VERSION_COMPLETED, where)
    mark_due(connection, job.book_id, job.version, now)
