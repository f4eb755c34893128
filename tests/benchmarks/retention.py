"""What `reconcile` costs the database after years: a million jobs, ten million chapters, and what one minute makes due
where 10,000 books are imported an hour. The reference is the same run when nothing is due.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psycopg

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.migrations import migrate
from shared.adapters.postgres.projections import PostgresProjections
from shared.adapters.postgres.retention import PostgresRetention
from shared.pipeline.projector import DELETED_FOR_EACH_WRITTEN
from shared.use_cases.reconcile import MAX_DOCUMENTS, MAX_DROPPED
from tests.support.explaining import Explained, explaining_connection
from tests.support.many_books import ManyBooks

HEAD = ["what", "statement", "nothing due: ms", "rows read", "a minute's due: ms", "rows read", "reads whole tables"]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
BOOKS, CHAPTERS, RECENT, NEVER = 200_000, 50, 2_000, 1_500
DUE, DUE_CHAPTERS, CHUNKS = 167, 30, 10
_SETTINGS = {**THROWAWAY, "shared_buffers": "2GB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB"}

Row = list[Any]


def retention() -> list[Row]:
    """The rows of a table; the database takes some minutes and 12 GB below TMPDIR."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with Postgres(Path(folder) / "data", settings=_SETTINGS) as server:
            migrate(server.dsn, MIGRATIONS)
            return _measure(server.dsn)


def _measure(dsn: str) -> list[Row]:
    began = time.monotonic()
    ManyBooks(dsn=dsn, now=NOW, chapters=CHAPTERS).add(1, BOOKS, recent=RECENT, never=NEVER)
    print(f"{_counts(dsn)}, made in {time.monotonic() - began:.0f} s", flush=True)
    _run(dsn)  # what it reads is in memory from then on
    idle = _run(dsn)
    due = ManyBooks(dsn=dsn, now=NOW, chapters=DUE_CHAPTERS)
    due.add_due(BOOKS + 1, BOOKS + DUE, overtaken=DUE // 10, chunks=CHUNKS)
    busy = _run(dsn)
    return [row for what in busy for row in _rows(what, idle[what], busy[what])]


def _counts(dsn: str) -> str:
    tables = ("books", "recent_chapters", "processing_status", "jobs", "deliveries", "answers", "idempotency_keys")
    with psycopg.connect(dsn) as connection:
        found = [connection.execute(f"SELECT count(*) FROM {t}").fetchone() for t in tables]
    return ", ".join(f"{row[0]:,} {table}" for table, row in zip(tables, found, strict=True) if row)


def _run(dsn: str) -> dict[str, list[Explained]]:
    seen: list[Explained] = []
    database = Database(dsn, connection_class=lambda: explaining_connection(seen))
    projections = PostgresProjections(database, lambda: NOW)
    calls: dict[str, Callable[[], object]] = {
        "drop": lambda: PostgresRetention(database).drop(NOW, MAX_DROPPED),
        "lagging": lambda: projections.lagging(NOW, MAX_DOCUMENTS),
        "count_lagging": lambda: projections.count_lagging(NOW),
        "all_obsolete": lambda: projections.all_obsolete(DELETED_FOR_EACH_WRITTEN * MAX_DOCUMENTS),
    }
    found = {}
    for what, call in calls.items():
        result = call()
        print(what, result if isinstance(result, Mapping | int) else len(cast(list[Any], result)), flush=True)
        found[what] = seen[:]
        seen.clear()
    database.close()
    return found


def _rows(what: str, idle: Sequence[Explained], busy: Sequence[Explained]) -> list[Row]:
    by_statement: defaultdict[str, tuple[list[Explained], list[Explained]]] = defaultdict(lambda: ([], []))
    for n, run in enumerate((idle, busy)):
        for explained in run:
            by_statement[explained.statement][n].append(explained)
    rows = [[what, f"`{_name(s)}` × {len(b)}", *_sum(a), *_sum(b), _scanned(b)] for s, (a, b) in by_statement.items()]
    return [*rows, [what, "all", *_sum(idle), *_sum(busy), _scanned(busy)]]


def _sum(run: Sequence[Explained]) -> tuple[float, int]:
    return sum(e.ms for e in run), sum(e.rows for e in run)


def _scanned(run: Sequence[Explained]) -> str:
    return ", ".join(sorted({table for e in run for table in e.scanned()}))


def _name(statement: str) -> str:
    return statement[:60].replace("|", "/")
