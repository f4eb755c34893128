"""How long many books take over Pub/Sub's push, as it is documented: virtual seconds, against what the narrowest stage
takes at least. Real stages and SQL; models that take two seconds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.postgres.migrations import migrate
from shared.domain.stages import STAGES, JobType
from tests.support.push_model import OneChapterAtOnce, Push, are_completed, import_books
from tests.support.world import World

HEAD = ["what", "jobs", "virtual seconds", "at least", "ratio", "deliveries a job"]
GROUPS, SECONDS = 10, 2.0


def push(books: int) -> list[list[Any]]:
    """The rows of a table: so many books at once; and one book behind as many of another user."""
    with _world() as world:
        drained = _drained(world, books)
    with _world() as world:
        return [drained, _behind(world, books)]


def _drained(world: World, books: int) -> list[Any]:
    ids = import_books(world, books, "ann", GROUPS)
    with closing(Push(world, SECONDS)) as pushed:
        took = pushed.run(lambda: are_completed(world, ids))
    (jobs,) = world.rows("SELECT count(*)::int AS n FROM jobs")
    least = books * GROUPS * SECONDS / STAGES[JobType.EMBEDDING_GENERATION].concurrency
    deliveries = f"{pushed.deliveries.total() / jobs['n']:.3f}"
    return [f"{books} books at once", jobs["n"], f"{took:.0f}", f"{least:.0f}", f"{took / least:.2f}", deliveries]


def _behind(world: World, books: int) -> list[Any]:
    """`at least` is what the same book takes alone."""
    alone = import_books(world, 1, "ben", GROUPS)
    with closing(Push(world, SECONDS)) as pushed:
        least = pushed.run(lambda: are_completed(world, alone))
        import_books(world, books, "ann", GROUPS)
        pushed.run(lambda: pushed.now >= least + 30)
        began = pushed.now
        behind = import_books(world, 1, "ben again", GROUPS)
        took = pushed.run(lambda: are_completed(world, behind)) - began
    return [f"one behind {books} of another user", "", f"{took:.0f}", f"{least:.0f}", f"{took / least:.2f}", ""]


@contextmanager
def _world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "data", settings=THROWAWAY) as server:
        migrate(server.dsn, MIGRATIONS)
        with closing(World(server.dsn, OneChapterAtOnce(), max_books_under_way=100_000)) as world:
            yield world
