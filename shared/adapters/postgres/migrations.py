"""Applies the numbered SQL files, each once, in order, while work goes on; safe to repeat, and by two at once.

Each file is applied in a transaction of its own. All who come later wait behind a statement that waits for a table, so
that it waits for a moment only, and is tried again.

A file whose first line is `-- no transaction` has what PostgreSQL refuses in one, such as CREATE INDEX CONCURRENTLY.
Its statements are executed one by one. Each ends with a semicolon at the end of a line, and can be repeated: after a
failure the file is applied from its start.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import Connection
from psycopg.errors import DeadlockDetected, LockNotAvailable

from shared.adapters.postgres.sessions import SessionLimits, limited
from shared.domain.errors import Unavailable

NO_TRANSACTION = "-- no transaction"

# Less than others wait for a lock: nobody gives up because of a migration.
LOCK_SECONDS = 2.0
# With pauses as long as the waits, about two minutes.
TRIES = 30
_TURN_SECONDS = 0.2

# An index is built for as long as it takes. Outside of a transaction nobody waits for it meanwhile.
_LIMITS = SessionLimits(lock=0, idle_in_transaction=0, statement=0)

_LOCK = 0x62696E64  # any fixed number: one migrator at a time for each database

# The session's: it lasts over several transactions. Asked for again and again, since a statement that waits has a
# snapshot, for whose end CREATE INDEX CONCURRENTLY would wait in turn.
TRY_LOCK_MIGRATIONS = "SELECT pg_try_advisory_lock(%s)"

# What was applied.
CREATE_TABLE_OF_MIGRATIONS = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())
"""

# In the file's own transaction, where it has one.
INSERT_MIGRATION = "INSERT INTO schema_migrations (name) VALUES (%s)"

# Until the end of the transaction.
SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %s, true)"


def migrate(dsn: str, folder: Path, *, lock_seconds: float = LOCK_SECONDS, tries: int = TRIES) -> list[str]:
    """Apply what is missing and return the names of the files applied. Raises Unavailable.

    A file that fails leaves those before it applied, and the next call goes on with it.
    """
    applied = []
    try:
        with _only_migrator(dsn) as connection:
            connection.execute(CREATE_TABLE_OF_MIGRATIONS)
            done = {row[0] for row in connection.execute("SELECT name FROM schema_migrations")}
            for file in sorted(folder.glob("[0-9]*.sql")):
                if file.name not in done:
                    _apply_when_free(connection, file, lock_seconds, tries)
                    applied.append(file.name)
    except psycopg.OperationalError as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
    return applied


@contextmanager
def _only_migrator(dsn: str) -> Iterator[Connection]:
    """A session of which there is one at a time: the others wait until it ends."""
    with psycopg.connect(limited(dsn, _LIMITS), autocommit=True) as connection:
        while connection.execute(TRY_LOCK_MIGRATIONS, (_LOCK,)).fetchone() != (True,):
            time.sleep(_TURN_SECONDS)
        yield connection


def _apply_when_free(connection: Connection, file: Path, lock_seconds: float, tries: int) -> None:
    for number in range(tries):
        if number:
            time.sleep(lock_seconds)  # for those who waited behind us
        try:
            return _apply(connection, file, lock_seconds)
        except (LockNotAvailable, DeadlockDetected) as error:
            failure = error
    raise Unavailable(
        f"{file.name} found its tables locked {tries} times; it is applied when you migrate again"
    ) from failure


def _apply(connection: Connection, file: Path, lock_seconds: float) -> None:
    sql = file.read_text("utf-8")
    if sql.startswith(f"{NO_TRANSACTION}\n"):
        for statement in _statements(sql):
            connection.execute(statement.encode())
        connection.execute(INSERT_MIGRATION, (file.name,))
        return
    with connection.transaction():
        connection.execute(SET_LOCK_TIMEOUT, (f"{round(lock_seconds * 1000)}ms",))
        connection.execute(sql.encode())
        connection.execute(INSERT_MIGRATION, (file.name,))


def _statements(sql: str) -> list[str]:
    code = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    return [statement for statement in re.split(r";[ \t]*(?:--.*)?$", code, flags=re.MULTILINE) if statement.strip()]
