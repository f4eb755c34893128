from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from infra.local.database import MIGRATIONS
from shared.adapters.postgres.migrations import migrate

TABLES = (
    "books recent_chapters chapter_chunks processing_status book_vectors book_versions book_contexts jobs dead_letters"
)


def test_migrations_run_twice_and_by_four_at_once_apply_once(empty_dsn: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty_dsn, MIGRATIONS), range(4)))

    assert sorted(map(len, applied)) == [0, 0, 0, len(list(MIGRATIONS.glob("*.sql")))]
    assert migrate(empty_dsn, MIGRATIONS) == []
    with psycopg.connect(empty_dsn) as connection:
        tables = {r[0] for r in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert set(TABLES.split()) <= tables


def test_a_migration_that_fails_leaves_nothing_behind(empty_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good (id int);")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE bad (id int); SELECT nonsense;")

    with pytest.raises(psycopg.Error):
        migrate(empty_dsn, tmp_path)
    with psycopg.connect(empty_dsn) as connection:
        left = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename IN ('good', 'bad')").fetchone()
    assert left == (0,)


def test_vectors_of_before_belong_to_the_books_whose_chunks_have_them(empty_dsn: str, tmp_path: Path) -> None:
    for file in MIGRATIONS.glob("000[12]_*.sql"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    migrate(empty_dsn, tmp_path)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(_TWO_BOOKS_OF_BEFORE)
        connection.execute(_VECTORS_OF_BEFORE)
    migrate(empty_dsn, MIGRATIONS)

    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute("SELECT owner_uid, content_hash = sha256('same'), unused_since FROM book_vectors")
        assert sorted(found) == [("ann", True, None), ("ben", True, None)]
        assert connection.execute("SELECT * FROM embedding_cache").fetchall() == []


_TWO_BOOKS_OF_BEFORE = """
    INSERT INTO books (book_id, owner_uid, title, latest_version)
        SELECT md5(owner)::uuid, owner, 'A Book', 1 FROM unnest(ARRAY['ann', 'ben']) owner;
    INSERT INTO book_versions (book_id, version, title, content, content_hash)
        SELECT book_id, 1, title, 'same', 'x' FROM books;
    INSERT INTO recent_chapters (chapter_id, book_id, version, chapter_number, title, content, content_hash,
                                 start_offset, end_offset, word_count)
        SELECT book_id, book_id, 1, 1, '', 'same', 'x', 0, 4, 1 FROM books;
    INSERT INTO chapter_chunks (chapter_id, chunk_index, chunk_text, chunk_embedding, word_count, start_offset,
                                end_offset, embedding_model, embedding_version)
        SELECT book_id, 0, 'same', array_fill(0.1, ARRAY[768])::vector, 1, 0, 4, 'm', '1' FROM books;
"""
_VECTORS_OF_BEFORE = """
    INSERT INTO embedding_cache (content_hash, embedding_model, embedding_version, task, embedding)
    SELECT sha256(text), 'm', '1', 'document', array_fill(0.1, ARRAY[768])::vector
    FROM unnest(ARRAY['same', 'of no chunk']::bytea[]) text
"""


def test_the_index_on_chunk_vectors_is_hnsw_and_used(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        query = "SELECT 1 FROM chapter_chunks ORDER BY chunk_embedding <=> array_fill(0.1, ARRAY[768])::vector LIMIT 5"
        plan = "\n".join(r[0] for r in connection.execute("EXPLAIN " + query))
    assert "chunks_by_meaning" in plan


def test_a_chapter_that_failed_by_its_metadata_alone_is_complete_from_now_on(empty_dsn: str, tmp_path: Path) -> None:
    """And no chapter is waited for that was not before."""
    for name in ("0001_books.sql", "0002_recovery.sql"):
        shutil.copy(MIGRATIONS / name, tmp_path)
    migrate(empty_dsn, tmp_path)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(BOOK_BEFORE)
        for chapter in (FAILED_BY_METADATA, FAILED_BY_BOTH, FAILED_BY_VECTORS, REDRIVEN, READ):
            connection.execute(CHAPTER_BEFORE, chapter)
    migrate(empty_dsn, MIGRATIONS)

    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute("""
            SELECT chapter_number, status, lacks_metadata FROM processing_status JOIN recent_chapters
            ON chapter_id = entity_id ORDER BY chapter_number""").fetchall()
    assert found == [
        (1, "completed", "failed"),
        (2, "failed", "failed"),
        (3, "failed", None),
        (4, "pending", None),
        (5, "completed", None),
    ]


BOOK_BEFORE = """
    INSERT INTO books (book_id, owner_uid, title, latest_version) VALUES (gen_random_uuid(), 'ann', 'B', 1);
    INSERT INTO book_versions (book_id, version, title, content, content_hash)
    SELECT book_id, 1, 'B', 'text', 'x' FROM books
"""
CHAPTER_BEFORE = """
    WITH book AS (SELECT book_id FROM books), chapter AS (
        INSERT INTO recent_chapters (chapter_id, book_id, version, chapter_number, title, content, content_hash,
                                     start_offset, end_offset, word_count, metadata, embedding_timestamp)
        SELECT gen_random_uuid(), book_id, 1, %(number)s, 'C', 'text', 'x', 0, 4, 1,
               CASE WHEN %(is_read)s THEN '{}'::jsonb END, CASE WHEN %(is_embedded)s THEN now() END FROM book
        RETURNING chapter_id, book_id
    ), job AS (
        INSERT INTO jobs (job_id, type, book_id, version, data, state, max_attempts, created_at)
        SELECT 'chapter-' || chapter_id, 'chapter-processing', book_id, 1, '{}', %(job)s, 3, now() FROM chapter
    )
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, status, phase, created_at, updated_at)
    SELECT 'chapter', chapter_id, book_id, 1, %(status)s, 'metadata', now(), now() FROM chapter
"""


def chapter_before(number: int, status: str, job: str, *, is_read: bool, is_embedded: bool) -> dict[str, object]:
    return {"number": number, "status": status, "job": job, "is_read": is_read, "is_embedded": is_embedded}


FAILED_BY_METADATA = chapter_before(1, "failed", "failed", is_read=False, is_embedded=True)
FAILED_BY_BOTH = chapter_before(2, "failed", "failed", is_read=False, is_embedded=False)
FAILED_BY_VECTORS = chapter_before(3, "failed", "processing", is_read=False, is_embedded=False)
REDRIVEN = chapter_before(4, "pending", "pending", is_read=False, is_embedded=True)
READ = chapter_before(5, "completed", "completed", is_read=True, is_embedded=True)
