from __future__ import annotations

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


def test_the_index_on_chunk_vectors_is_hnsw_and_used(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        query = "SELECT 1 FROM chapter_chunks ORDER BY chunk_embedding <=> array_fill(0.1, ARRAY[768])::vector LIMIT 5"
        plan = "\n".join(r[0] for r in connection.execute("EXPLAIN " + query))
    assert "chunks_by_meaning" in plan
