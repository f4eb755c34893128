"""What each session of PostgreSQL may wait, work and be silent: one that hangs costs others little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.sessions import SessionLimits
from shared.domain.errors import Unavailable
from shared.domain.stages import JobType
from tests.support.waiting import poll
from tests.support.world import World, manuscript

POOL = 4
# Quick, in an order that leaves no doubt which of them ended it.
LIMITS = SessionLimits(lock=0.5, idle_in_transaction=30, statement=30)

HOLD_ROW = "SELECT 1 FROM held FOR UPDATE"


@contextmanager
def pool_of(dsn: str, limits: SessionLimits) -> Iterator[Database]:
    with closing(Database(dsn, limits=limits)) as database:
        yield database


@pytest.fixture
def held(dsn: str) -> str:
    """A database with a row to hold."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE held (n int)")
        connection.execute("INSERT INTO held VALUES (1)")
    return dsn


def await_waiters(world: World, number: int) -> None:
    """Wait until so many sessions wait for a lock."""
    for _ in poll(20, f"{number} to wait for a lock", pause_seconds=0.01):
        if len(world.rows("SELECT 1 FROM pg_locks WHERE NOT granted")) >= number:
            return


def test_a_claim_that_hangs_holds_up_its_own_book_alone(dsn: str) -> None:
    world = World(dsn, pool_size=POOL, connect_seconds=2, limits=LIMITS)
    with closing(world), psycopg.connect(dsn) as hanging:
        hung, other = (world.import_book(manuscript(2, name=name), name) for name in ("Hung", "Other"))
        message, others = (world.take(JobType.BOOK_PROCESSING) for _ in range(2))
        hanging.execute("SELECT 1 FROM processing_status WHERE entity_id = %s FOR UPDATE", (hung,))
        with ThreadPoolExecutor(POOL + 2) as pool:
            refused = [pool.submit(world.deliver, message) for _ in range(POOL + 2)]
            try:
                await_waiters(world, POOL)
                listed, delivered = world.get("/api/books"), world.deliver(others)
                cancelled = world.call("POST", f"/api/books/{hung}/cancel")
                answers = [r.result(20) for r in refused]
            finally:
                hanging.rollback()

        assert (listed.status_code, delivered) == (200, 204)
        assert answers == [503] * (POOL + 2)
        assert (cancelled.status_code, cancelled.headers["Retry-After"]) == (503, "5")
        world.broker.waiting.append(message)
        world.run()
        assert {world.status(b)["status"] for b in (hung, other)} == {"completed"}
        assert world.rows("SELECT max(attempts) AS n FROM jobs") == [{"n": 1}]


def test_a_transaction_that_was_abandoned_is_ended_and_its_rows_are_free(held: str) -> None:
    quick, patient = SessionLimits(idle_in_transaction=0.2), SessionLimits(lock=20)
    with pool_of(held, quick) as abandoned, pool_of(held, patient) as other:

        def be_silent_until_another_has_the_row() -> None:
            with abandoned.transaction() as connection:
                connection.execute(HOLD_ROW)
                with other.transaction() as waiting:
                    waiting.execute(HOLD_ROW)
                connection.execute("UPDATE held SET n = 2")

        with pytest.raises(Unavailable, match="idle-in-transaction"):
            be_silent_until_another_has_the_row()
        with abandoned.transaction() as connection:
            assert connection.execute("SELECT n FROM held").fetchall() == [{"n": 1}]


def test_a_statement_that_takes_too_long_is_ended(dsn: str) -> None:
    with pool_of(dsn, SessionLimits(statement=0.1)) as database:
        with pytest.raises(Unavailable, match="statement timeout"), database.statements() as connection:
            connection.execute("SELECT pg_sleep(20)")


WAYS: dict[str, Callable[[Database], AbstractContextManager[Connection]]] = {
    "transaction": Database.transaction,
    "statements": Database.statements,
    "outside the pool": lambda database: closing(database.connect()),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_session_has_the_limits(dsn: str, way: str) -> None:
    names = "lock_timeout idle_in_transaction_session_timeout statement_timeout tcp_keepalives_idle tcp_user_timeout"
    with closing(Database(dsn)) as database, WAYS[way](database) as connection:
        found = connection.execute(f"SELECT {', '.join(f'current_setting({n!r}) AS {n}' for n in names.split())}")

        assert found.fetchone() == {
            "lock_timeout": "3s",
            "idle_in_transaction_session_timeout": "10s",
            "statement_timeout": "9min",
            "tcp_keepalives_idle": "5",
            "tcp_user_timeout": "20000",
        }
        assert connection.info.get_parameters()["keepalives_idle"] == "5"


def test_what_the_dsn_says_itself_holds(dsn: str) -> None:
    own = make_conninfo(dsn, options="-c statement_timeout=7s", keepalives_idle=9)
    with closing(Database(own)) as database, database.transaction() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "7s"}
        assert connection.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "3s"}
        assert connection.info.get_parameters()["keepalives_idle"] == "9"
