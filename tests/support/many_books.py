"""Years of books in a moment: rows as the pipeline would have left them, with texts of one letter, made in PostgreSQL.

Book number n has the id n, and its chapters follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

BOOK = "lpad(to_hex(n), 32, '0')::uuid"
CHAPTER = "(lpad(to_hex(n), 16, '0') || lpad(to_hex(version * 10000 + c), 16, '0'))::uuid"
OF_BOOKS = """
    book_id BETWEEN lpad(to_hex(%(first)s::int), 32, '0')::uuid AND lpad(to_hex(%(last)s::int), 32, '0')::uuid
"""

# Complete, and long ago.
INSERT_BOOKS = f"""
    INSERT INTO books (book_id, owner_uid, title, current_version, latest_version)
    SELECT {BOOK}, 'owner ' || n %% 997, 'A Book', 1, 1 FROM generate_series(%(first)s::int, %(last)s) n
"""
INSERT_VERSIONS = f"""
    INSERT INTO book_versions (book_id, version, title, content, content_hash, created_at, completed_at, retention_due)
    SELECT {BOOK}, %(version)s, 'A Book', 'x', '', %(ended)s, %(ended)s, %(due)s
    FROM generate_series(%(first)s::int, %(last)s) n
"""
INSERT_CHAPTERS = f"""
    INSERT INTO recent_chapters (chapter_id, book_id, version, chapter_number, title, content, content_hash,
                                 start_offset, end_offset, word_count, metadata, embedding_timestamp)
    SELECT {CHAPTER}, {BOOK}, version, c, 'x', 'x', '', 0, 1, 1, '{{}}', %(ended)s
    FROM generate_series(%(first)s::int, %(last)s) n, generate_series(1, %(chapters)s) c, (SELECT %(version)s) v (version)
"""
INSERT_CHUNKS = f"""
    INSERT INTO chapter_chunks (chapter_id, chunk_index, chunk_text, chunk_embedding, word_count, start_offset,
                                end_offset, embedding_model, embedding_version)
    SELECT {CHAPTER}, k, 'x', array_fill(random(), ARRAY[768])::vector, 1, 0, 1, 'm', '1'
    FROM generate_series(%(first)s::int, %(last)s) n, generate_series(1, %(chapters)s) c, (SELECT %(version)s) v (version),
         generate_series(1, %(chunks)s) k
"""
INSERT_STATUSES_OF_CHAPTERS = f"""
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, status, phase, progress, created_at,
                                   updated_at, revision, projected_revision)
    SELECT 'chapter', {CHAPTER}, {BOOK}, version, 'completed', 'completed', 100, %(ended)s, %(ended)s, 1, 1
    FROM generate_series(%(first)s::int, %(last)s) n, generate_series(1, %(chapters)s) c, (SELECT %(version)s) v (version)
"""
INSERT_STATUSES_OF_BOOKS = f"""
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, status, phase, progress, created_at,
                                   updated_at, revision, projected_revision)
    SELECT 'book', {BOOK}, {BOOK}, 1, 'completed', 'completed', 100, %(ended)s, %(ended)s, 1, 1
    FROM generate_series(%(first)s::int, %(last)s) n
"""

# The steps stay for good.
INSERT_JOBS_OF_STEPS = f"""
    INSERT INTO jobs (job_id, type, book_id, version, data, state, max_attempts, created_at, published_at, processed_on,
                      finished_on, revision, projected_revision)
    SELECT name || '-' || n, type, {BOOK}, %(version)s, '{{}}', 'completed', 3, %(ended)s, %(ended)s, %(ended)s,
           %(ended)s, 1, 1
    FROM generate_series(%(first)s::int, %(last)s) n,
         (VALUES ('book', 'book-processing'), ('quick', 'book-context-extraction'),
                 ('full', 'book-context-extraction'), ('completion', 'book-completion')) s (name, type)
"""
INSERT_JOBS_OF_CHAPTERS = f"""
    INSERT INTO jobs (job_id, type, book_id, version, data, state, max_attempts, created_at, published_at, processed_on,
                      finished_on, revision, projected_revision)
    SELECT name || '-' || {CHAPTER}, type, {BOOK}, version, jsonb_build_object('chapter_ids', ARRAY[{CHAPTER}]),
           %(state)s, 3, %(ended)s, %(ended)s, %(ended)s, %(ended)s, 1, 1
    FROM generate_series(%(first)s::int, %(last)s) n, (SELECT %(version)s) v (version),
         (SELECT 'chapter' AS name, 'chapter-processing' AS type, c FROM generate_series(1, %(chapters)s) c
          UNION ALL SELECT 'embedding', 'embedding-generation', c FROM generate_series(1, %(chapters)s, 8) c) j
"""
INSERT_DELIVERIES = f"""
    INSERT INTO deliveries (job_id, type, at, state)
    SELECT job_id, type, %(ended)s, 'claimed' FROM jobs
    WHERE {OF_BOOKS}
"""
INSERT_DELIVERIES_OF_WEBHOOKS = f"""
    INSERT INTO webhook_deliveries (webhook_id, book_id, event_id, event_type, payload, created_at, state)
    SELECT {BOOK}, {BOOK}, 'event ' || n, 'book.completed', '{{}}', %(ended)s, 'delivered'
    FROM generate_series(%(first)s::int, %(last)s) n
"""
INSERT_KEYS = f"""
    INSERT INTO idempotency_keys (owner_uid, key, request_hash, book_id, version, created_at)
    SELECT 'owner ' || n %% 997, 'key ' || n, '', {BOOK}, 1, %(ended)s
    FROM generate_series(%(first)s::int, %(last)s) n
"""
INSERT_ANSWERS = f"""
    INSERT INTO answers (book_id, question, model, answer, created_at)
    SELECT {BOOK}, sha256(int4send(c)), 'm', '{{}}', %(ended)s
    FROM generate_series(%(first)s::int, %(last)s) n, generate_series(1, %(chapters)s + 2) c
"""
INSERT_VECTORS = f"""
    INSERT INTO book_vectors (book_id, content_hash, embedding_model, embedding_version, task, owner_uid, embedding,
                              created_at, unused_since)
    SELECT {BOOK}, sha256(int4send(c)), 'm', '1', 'document', 'owner ' || n %% 997, array_fill(0.1, ARRAY[768])::vector,
           %(ended)s, %(unused)s
    FROM generate_series(%(first)s::int, %(last)s) n, generate_series(1, %(vectors)s) c
"""
INSERT_LETTERS = f"""
    INSERT INTO dead_letters (job_id, type, book_id, version, payload, attempts, error_class, message, traceback,
                              fingerprint, first_seen, last_seen, state, resolved_at)
    SELECT 'chapter-' || n, 'chapter-processing', {BOOK}, 1, '{{}}', 3, 'Rejected', '', '', 'f' || n, %(ended)s, %(ended)s,
           %(state)s, %(resolved)s
    FROM generate_series(%(first)s::int, %(last)s) n
"""
INSERT_TOMBSTONES = f"""
    INSERT INTO obsolete_documents (path, book_id, revision, since, buried_at)
    SELECT 'books/' || {BOOK}, {BOOK}, 1, %(ended)s, %(ended)s FROM generate_series(%(first)s::int, %(last)s) n
"""
MAKE_DOCUMENTS_LAG = f"""
    UPDATE processing_status SET projected_revision = 0, updated_at = %(ended)s
    WHERE {OF_BOOKS}
"""
TAKE_OVER = f"""
    UPDATE books SET current_version = 2, latest_version = 2
    WHERE {OF_BOOKS}
"""

SHOW_NEWER_VERSION = f"UPDATE processing_status SET version = 2 WHERE entity_type = 'book' AND {OF_BOOKS}"


@dataclass(frozen=True, kw_only=True)
class ManyBooks:
    """`now` is when retention will look. Of each book the rows of the last version have long been projected."""

    dsn: str
    now: datetime
    chapters: int

    def add(self, first: int, last: int, *, recent: int, never: int) -> None:
        """Books of which nothing is due: the last `recent` ended within the month and have all their jobs, the others
        long ago. The first `never` were cancelled with all their jobs, and a letter is open: they stay so."""
        old, new = self._books(first, last, days=400), self._books(last - recent + 1, last, days=3)
        stuck = self._books(first, first + never - 1, days=400)
        self._execute(INSERT_BOOKS, old)
        self._execute(INSERT_VERSIONS, old)
        self._execute(INSERT_CHAPTERS, old)
        self._execute(INSERT_STATUSES_OF_CHAPTERS, old)
        self._execute(INSERT_STATUSES_OF_BOOKS, old)
        self._execute(INSERT_JOBS_OF_STEPS, old)
        self._execute(INSERT_JOBS_OF_CHAPTERS, stuck | {"state": "cancelled"})
        self._execute(INSERT_LETTERS, stuck | {"state": "open"})
        self._execute(INSERT_VECTORS, new)
        for statement in (
            INSERT_JOBS_OF_CHAPTERS,
            INSERT_DELIVERIES,
            INSERT_DELIVERIES_OF_WEBHOOKS,
            INSERT_KEYS,
            INSERT_ANSWERS,
        ):
            self._execute(statement, new)
        self._execute("ANALYZE", {})

    def add_due(self, first: int, last: int, *, overtaken: int, chunks: int) -> None:
        """Books of which all is due that retention ever drops; the first `overtaken` have a newer version, too, and
        so many `chunks` in each chapter of the old one."""
        some = self._books(first, last, days=31)
        versions = self._books(first, first + overtaken - 1, days=8)
        settled = {"state": "resolved", "resolved": some["ended"], "unused": some["ended"], "vectors": 1}
        self._execute(INSERT_BOOKS, some)
        self._execute(INSERT_VERSIONS, some)
        self._execute(INSERT_CHAPTERS, some)
        self._execute(INSERT_STATUSES_OF_CHAPTERS, some)
        self._execute(INSERT_STATUSES_OF_BOOKS, some)
        for statement in (
            INSERT_JOBS_OF_STEPS,
            INSERT_JOBS_OF_CHAPTERS,
            INSERT_DELIVERIES,
            INSERT_DELIVERIES_OF_WEBHOOKS,
            INSERT_KEYS,
            INSERT_ANSWERS,
        ):
            self._execute(statement, some)
        self._execute(INSERT_VECTORS, some | settled)
        self._execute(INSERT_LETTERS, some | settled)
        self._execute(INSERT_TOMBSTONES, some)
        self._execute(MAKE_DOCUMENTS_LAG, some)
        second = versions | {"version": 2}
        self._execute(INSERT_CHUNKS, versions | {"chunks": chunks})
        self._execute(INSERT_VERSIONS, second)
        self._execute(INSERT_CHAPTERS, second)
        self._execute(INSERT_STATUSES_OF_CHAPTERS, second)
        self._execute(TAKE_OVER, second)
        self._execute(SHOW_NEWER_VERSION, second)
        self._execute(
            "UPDATE book_versions SET retention_due = %(ended)s WHERE version < 2 AND book_id IN"
            " (SELECT book_id FROM books WHERE latest_version = 2)",
            second,
        )

    def _books(self, first: int, last: int, *, days: float) -> dict[str, Any]:
        ended = self.now - timedelta(days=days)
        of_books = {"first": first, "last": last, "chapters": self.chapters, "version": 1, "ended": ended}
        return of_books | {"state": "completed", "due": None, "unused": None, "vectors": 2, "resolved": None}

    def _execute(self, statement: str, values: dict[str, Any]) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            # What refers to what is right by the way it is made: to check it would take longer.
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values)
