"""What a chapter costs in longer and longer books, and beside many others: CPU seconds of Bindery and of PostgreSQL, with
instant models. The reference is a book of 30 chapters in an empty database.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.postgres.migrations import migrate
from tests.support.many_books import ManyBooks
from tests.support.world import World, manuscript

HEAD = ["books there", "chapters", "Python ms a chapter", "PostgreSQL ms a chapter", "times the first"]
BOOKS, CHAPTERS, WORDS = (0, 10_000), (30, 480, 1_500), 600
_REPEATS = {30: 16, 480: 2, 1_500: 1}

Row = list[Any]


def growth() -> list[Row]:
    """The table's rows. The books that are there have 30 chapters each; a hundredth of them has passages."""
    rows = [row for books in BOOKS for row in _rows(books)]
    first = rows[0][2] + rows[0][3]
    return [[*row, (row[2] + row[3]) / first] for row in rows]


def _rows(books: int) -> Iterator[Row]:
    with _database() as server, closing(World(server.dsn, calls_at_once=5)) as world:
        if books:
            _add(server.dsn, books, world.clock())
        _import(world, manuscript(chapters=30, words=WORDS, name="warm-up"))
        for chapters in CHAPTERS:
            texts = [manuscript(chapters, WORDS, name=f"{chapters} {n}") for n in range(_REPEATS[chapters])]
            before = time.process_time(), _cpu(server)
            for text in texts:
                _import(world, text)
            python, postgres = time.process_time() - before[0], _cpu(server) - before[1]
            done = 1000 / chapters / len(texts)
            yield [f"{books:,}", chapters, python * done, postgres * done]


def _add(dsn: str, books: int, now: datetime) -> None:
    many, with_passages = ManyBooks(dsn=dsn, now=now, chapters=30), books // 100
    many.add(1, books, recent=books // 20, never=0)
    # That the planner knows of passages, as it would.
    many.add_due(books + 1, books + with_passages, overtaken=with_passages, chunks=3)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")


@contextmanager
def _database() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        with Postgres(Path(folder) / "data", settings=THROWAWAY) as server:
            migrate(server.dsn, MIGRATIONS)
            yield server


def _import(world: World, text: str) -> None:
    book_id = world.import_book(text)
    world.run()
    if (status := world.status(book_id)["status"]) != "completed":
        raise RuntimeError(f"the book is {status}")


def _cpu(server: Postgres) -> float:
    """CPU seconds of the server and all its sessions, those that have ended too."""
    watchdog = psutil.Process(server.pid)
    times = [p.cpu_times() for p in [watchdog, *watchdog.children(recursive=True)]]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)
