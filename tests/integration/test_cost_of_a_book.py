"""What a book of 30 chapters of 3,000 words costs, one message after another: statements, and documents written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from shared.adapters.postgres.database import Database
from tests.support.explaining import Explained, explaining_connection
from tests.support.world import World, clocked, manuscript

# As measured. Whoever makes a book a tenth dearer is to know it; who makes it cheaper lowers them.
COST = {"statements": 283, "transactions": 140, "round trips": 353, "documents": 101}


def test_a_book_costs_what_it_did(dsn: str) -> None:
    costs: Counter[str] = Counter()
    world = World(dsn, overrides={"database": Database(dsn, 8, lambda: counted(world, costs))}, calls_at_once=5)

    world.import_book(manuscript(chapters=30, words=3000))
    while world.broker.waiting:
        world.clock.advance(0.1)
        assert world.deliver(world.broker.waiting.pop(0)) == 204
    costs["documents"] = len(world.live_documents.history)
    world.close()

    assert {what: costs[what] for what in COST if not 0.9 < costs[what] / COST[what] < 1.1} == {}


def counted(world: World, costs: Counter[str]) -> type[psycopg.Connection[Any]]:
    """Connections that count what they ask. psycopg sends BEGIN and COMMIT each by itself."""
    base: Callable[[], Any] = clocked(world.clock)

    class Counted(base()):  # type: ignore[misc]
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            alone = self.info.transaction_status is TransactionStatus.IDLE
            costs.update({"statements": 1, "round trips": 1, "transactions": int(alone)})
            return super().execute(*args, **kwargs)

        @contextmanager
        def transaction(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            costs.update({"transactions": 1, "round trips": 2})
            with super().transaction(*args, **kwargs) as transaction:
                yield transaction

    return Counted


def test_what_a_job_shows_of_its_chapters_reads_no_others(dsn: str) -> None:
    """Even in a database that was filled a moment ago, of whose tables the planner knows nothing."""
    seen: list[Explained] = []
    world = World(dsn, overrides={"database": Database(dsn, 8, lambda: explained(world, seen))}, calls_at_once=5)

    world.import_book(manuscript(chapters=100, words=60))
    world.run()
    world.close()

    updates = [e for e in seen if e.statement.startswith("UPDATE processing_status s SET lacks_metadata")]
    assert len(updates) >= 2 * 100 / 5
    assert median(e.rows for e in updates) <= 5 * 8, "each chapter's rows of four tables, and its passages"
    books = [e for e in seen if e.statement.startswith("SELECT found.*")]
    assert max(e.rows for e in books) <= 100 * 8, "each chapter's rows once for each of its counts"


def explained(world: World, seen: list[Explained]) -> type[psycopg.Connection[Any]]:
    """Connections that note what their statements read."""
    base: Callable[[], Any] = clocked(world.clock)

    class Explaining(explaining_connection(seen), base()):  # type: ignore[misc]
        pass

    return Explaining
