"""A run of `reconcile` reads as much as it has to do, not as much as there is."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from infra.local.database import MIGRATIONS
from infra.local.postgres import Postgres
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.migrations import migrate
from shared.adapters.postgres.projections import PostgresProjections
from shared.adapters.postgres.reembeddings import PostgresReembeddings
from shared.adapters.postgres.retention import PostgresRetention
from shared.domain.embeddings import ModelKey
from tests.support.explaining import Explained, explaining_connection
from tests.support.many_books import ManyBooks

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SMALL, LARGE, DUE, OVERTAKEN, CHAPTERS = 300, 3000, 12, 4, 5

_FOREIGN_KEYS_WITHOUT_INDEX = """
    SELECT c.conrelid::regclass::text AS referring, c.conname FROM pg_constraint c
    WHERE c.contype = 'f' AND NOT EXISTS (
        SELECT 1 FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indpred IS NULL
        AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
"""


def run(dsn: str) -> tuple[dict[str, int], list[Explained]]:
    """All that `reconcile` asks of the database, but for stalled jobs, which have tests of their own."""
    seen: list[Explained] = []
    # A table of a few pages is read as a whole, and rightly. Here, only what no index serves is.
    dsn = make_conninfo(dsn, options="-c enable_seqscan=off")
    database = Database(dsn, connection_class=lambda: explaining_connection(seen))
    projections = PostgresProjections(database, lambda: NOW)
    dropped = dict(PostgresRetention(database).drop(NOW, 1000))
    projections.lagging(NOW, 50)
    projections.count_lagging(NOW)
    projections.mark_deleted(projections.all_obsolete(50), NOW)
    reembeddings, model = PostgresReembeddings(database), ModelKey(name="m", version="2")
    assert reembeddings.begin_anew(model, 100, NOW) == reembeddings.begin_due(model, 20, NOW) == []
    database.close()
    return dropped, seen


@pytest.fixture
def sizes(postgres: Postgres) -> list[tuple[dict[str, int], list[Explained]]]:
    found = []
    for books in (SMALL, LARGE):
        name = f"many_books_{books}"
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        made = ManyBooks(dsn=postgres.dsn_of(name), now=NOW, chapters=CHAPTERS)
        migrate(made.dsn, MIGRATIONS)
        made.add(1, books, recent=books * 3 // 4, never=books // 10)
        made.add_due(books + 1, books + DUE, overtaken=OVERTAKEN, chunks=1)
        found.append(run(made.dsn))
    return found


def test_a_run_reads_no_more_of_ten_times_the_books_if_as_much_is_due(
    sizes: list[tuple[dict[str, int], list[Explained]]],
) -> None:
    (small_dropped, small), (large_dropped, large) = sizes
    assert small_dropped == large_dropped
    assert small_dropped["versions"] == OVERTAKEN
    assert all(n >= DUE - OVERTAKEN for kind, n in small_dropped.items() if kind not in ("versions", "replays"))
    assert [s.statement for s in small] == [s.statement for s in large]

    pairs = list(zip(small, large, strict=True))
    # A planner that knows of more rows may take another index, and read some more of the same books.
    assert {a.statement: (a.rows, b.rows) for a, b in pairs if b.rows > 1.1 * a.rows + DUE} == {}


def test_every_foreign_key_has_an_index_by_which_its_rows_are_found_when_what_it_refers_to_goes(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute(_FOREIGN_KEYS_WITHOUT_INDEX).fetchall() == []
