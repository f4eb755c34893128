"""Many passages in a moment, with vectors that are given: books that readers see, copied straight into the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from uuid import UUID, uuid4

import psycopg
from pgvector import Vector as PgVector
from pgvector.psycopg import register_vector

from shared.adapters.postgres.database import to_column
from shared.domain.embeddings import ModelKey, Vector

COPY_BOOKS = "COPY books (book_id, owner_uid, title, latest_version) FROM STDIN"
COPY_VERSIONS = "COPY book_versions (book_id, version, title, content, content_hash) FROM STDIN"
COPY_CHAPTERS = """COPY recent_chapters (chapter_id, book_id, version, chapter_number, title, content, content_hash,
    start_offset, end_offset, word_count, embedding_timestamp) FROM STDIN"""
COPY_CHUNKS = """COPY chapter_chunks (chapter_id, chunk_index, chunk_text, chunk_embedding, word_count, start_offset,
    end_offset, embedding_model, embedding_version) FROM STDIN (FORMAT BINARY)"""

# As a completion does.
SHOW_TO_READERS = "UPDATE books SET current_version = 1 WHERE book_id = ANY(%s)"


@dataclass(frozen=True, kw_only=True)
class Passage:
    text: str
    vector: Vector


def copy_books(
    dsn: str, owners: Sequence[str], passages: Iterable[Passage], model: ModelKey, chapters: int, chunks: int
) -> list[UUID]:
    """One book for each of `owners`, of `chapters` with `chunks` passages each, in order. Readers don't see them yet."""
    books = [uuid4() for _ in owners]
    places = [(uuid4(), book, number) for book in books for number in range(1, chapters + 1)]
    with psycopg.connect(dsn) as connection:
        register_vector(connection)
        with connection.cursor().copy(COPY_BOOKS) as copy:
            for book, owner in zip(books, owners, strict=True):
                copy.write_row((book, owner, "A Book", 1))
        with connection.cursor().copy(COPY_VERSIONS) as copy:
            for book in books:
                copy.write_row((book, 1, "A Book", "x", b""))
        with connection.cursor().copy(COPY_CHAPTERS) as copy:
            for chapter, book, number in places:
                copy.write_row((chapter, book, 1, number, "A Chapter", "x", b"", 0, 1, 1, "2026-01-01"))
        with connection.cursor().copy(COPY_CHUNKS) as copy:
            copy.set_types(["uuid", "int4", "text", "vector", "int4", "int4", "int4", "text", "text"])
            for row in _chunk_rows([chapter for chapter, _, _ in places], iter(passages), model, chunks):
                copy.write_row(row)
    return books


def _chunk_rows(
    chapters: Sequence[UUID], passages: Iterator[Passage], model: ModelKey, chunks: int
) -> Iterator[tuple[UUID, int, str, PgVector, int, int, int, str, str]]:
    for chapter in chapters:
        for n, passage in enumerate(islice(passages, chunks)):
            yield chapter, n, passage.text, to_column(passage.vector), 1, 0, 1, model.name, model.version


def show_to_readers(dsn: str, books: Sequence[UUID]) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(SHOW_TO_READERS, (list(books),))
