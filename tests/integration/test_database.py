"""The pool of connections to PostgreSQL."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest

from shared.adapters.postgres.database import Database
from tests.support.waiting import poll

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.mark.parametrize("connections", [1, 3])
def test_nobody_is_lent_a_connection_that_the_server_has_ended(dsn: str, connections: int) -> None:
    database = Database(dsn)
    with ExitStack() as stack:
        for _ in range(connections):
            stack.enter_context(database.transaction()).execute("SELECT 1")

    with psycopg.connect(dsn, autocommit=True) as operator:
        assert len(operator.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}").fetchall()) >= connections
        for _ in poll(30, "the end of the sessions"):
            if not operator.execute(f"SELECT 1 {OTHERS}").fetchall():
                break

    for _ in range(connections):
        with database.transaction() as connection:
            assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    database.close()
