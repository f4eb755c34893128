from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from infra.local.database import MIGRATIONS
from shared.adapters.postgres.migrations import migrate
from shared.domain.errors import Unavailable
from tests.support.waiting import poll

TABLES = (
    "books recent_chapters chapter_chunks processing_status book_vectors book_versions book_contexts jobs dead_letters"
)


def test_migrations_run_twice_and_by_four_at_once_apply_once(empty_dsn: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(lambda _: migrate(empty_dsn, MIGRATIONS), range(4)))

    assert sorted(map(len, applied)) == [0, 0, 0, len(list(MIGRATIONS.glob("*.sql")))]
    assert migrate(empty_dsn, MIGRATIONS) == []
    assert set(TABLES.split()) <= tables(empty_dsn)


def test_a_migration_that_fails_leaves_nothing_of_itself_and_is_gone_on_with(empty_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good (id int);")
    bad = tmp_path / "0002_bad.sql"
    bad.write_text("CREATE TABLE bad (id int); SELECT nonsense;")
    with pytest.raises(psycopg.Error):
        migrate(empty_dsn, tmp_path)
    left = tables(empty_dsn)
    bad.write_text("CREATE TABLE bad (id int);")

    assert left & {"good", "bad"} == {"good"}
    assert migrate(empty_dsn, tmp_path) == ["0002_bad.sql"]
    assert tables(empty_dsn) >= {"good", "bad"}


@pytest.fixture
def shelf(empty_dsn: str, tmp_path: Path) -> str:
    """A database with a table that is in use, and a migration that needs it for itself."""
    (tmp_path / "0001_column.sql").write_text("ALTER TABLE shelf ADD COLUMN height int;")
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("CREATE TABLE shelf (id int)")
        connection.execute("INSERT INTO shelf SELECT generate_series(1, 100)")
    return empty_dsn


def test_readers_do_not_wait_behind_a_migration_that_waits_for_one_of_them(shelf: str, tmp_path: Path) -> None:
    with psycopg.connect(shelf) as long, psycopg.connect(shelf, options="-c lock_timeout=5s") as reader:
        long.execute("SELECT 1 FROM shelf LIMIT 1")
        with ThreadPoolExecutor(1) as pool:
            migrated = pool.submit(migrate, shelf, tmp_path, lock_seconds=0.2)
            try:
                await_waiter(shelf)
                read = reader.execute("SELECT count(*) FROM shelf").fetchone()
                reader.commit()
            finally:
                long.commit()
            assert migrated.result(30) == ["0001_column.sql"]

    assert read == (100,)


def test_a_migration_that_is_never_let_in_says_so_and_is_applied_by_the_next_call(shelf: str, tmp_path: Path) -> None:
    with psycopg.connect(shelf) as long:
        long.execute("SELECT 1 FROM shelf LIMIT 1")
        with pytest.raises(Unavailable, match=r"0001_column\.sql found its tables locked 3 times"):
            migrate(shelf, tmp_path, lock_seconds=0.05, tries=3)

    assert migrate(shelf, tmp_path) == ["0001_column.sql"]


BUILD_INDEX = """-- no transaction
-- For who looks for a shelf; there are many.
DROP INDEX CONCURRENTLY IF EXISTS shelf_by_id;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS shelf_by_id
    ON shelf (id);  -- while others write
"""


def test_an_index_is_built_while_others_write_by_one_of_two_migrators(shelf: str, tmp_path: Path) -> None:
    (tmp_path / "0001_column.sql").write_text(BUILD_INDEX)
    with ThreadPoolExecutor(2) as pool, psycopg.connect(shelf) as writer:
        writer.execute("INSERT INTO shelf VALUES (101)")
        migrated = [pool.submit(migrate, shelf, tmp_path) for _ in range(2)]
        await_waiter(shelf)  # for the transactions that have begun
        with psycopg.connect(shelf, options="-c lock_timeout=5s") as another:
            another.execute("INSERT INTO shelf VALUES (102)")
        writer.commit()

        assert sorted(m.result(30) for m in migrated) == [[], ["0001_column.sql"]]
    assert valid_indexes(shelf) == {"shelf_by_id": True}


def test_an_index_that_could_not_be_built_is_built_by_the_next_call(shelf: str, tmp_path: Path) -> None:
    (tmp_path / "0001_column.sql").write_text(BUILD_INDEX)
    with psycopg.connect(shelf, autocommit=True) as connection:
        connection.execute("INSERT INTO shelf VALUES (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            migrate(shelf, tmp_path)
        left = valid_indexes(shelf)
        connection.execute("DELETE FROM shelf WHERE id = 1")

    assert left == {"shelf_by_id": False}
    assert migrate(shelf, tmp_path) == ["0001_column.sql"]
    assert valid_indexes(shelf) == {"shelf_by_id": True}


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {r[0] for r in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


def valid_indexes(dsn: str) -> dict[str, bool]:
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'shelf'::regclass"
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute(query).fetchall())


def await_waiter(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in poll(20, "somebody to wait for a lock", pause_seconds=0.01):
            if connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                return


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
