"""Whether PostgreSQL can be reached, and has the tables that this code was written for."""

from __future__ import annotations

import threading
import time

from psycopg.errors import UndefinedTable

from shared.adapters.postgres.database import Database
from shared.ports import Missing

NEWEST_MIGRATION = "0017_trace_context.sql"
"""The last that this code needs: `./infra/bindery migrate` runs before a new version's functions start."""

ANSWER_SECONDS = 2.0
"""The longest that anybody waits for an answer."""

# Whoever may ask needs no token: more often than this nobody makes PostgreSQL work.
FRESH_SECONDS = 1.0

IS_MIGRATED = "SELECT 1 FROM schema_migrations WHERE name = %s"


class PostgresReadiness:
    """Asks by a connection of its own, so that a pool that is busy is not taken for a database that is away."""

    def __init__(self, database: Database, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._database = database
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._known: Missing | None = None
        self._fresh_until = 0.0

    def missing(self) -> Missing | None:
        with self._lock:
            if time.monotonic() < self._fresh_until:
                return self._known
            if self._asking is None:
                # A thread, since neither a name server nor Cloud SQL's connector can be told how long they may take.
                self._asking = threading.Thread(target=self._ask, name="readiness", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(self._answer_seconds)
        with self._lock:
            return Missing.POSTGRESQL if asking.is_alive() else self._known

    def _ask(self) -> None:
        known: Missing | None = Missing.POSTGRESQL
        try:
            with self._database.connect() as connection:
                is_migrated = connection.execute(IS_MIGRATED, (NEWEST_MIGRATION,)).fetchone()
                known = None if is_migrated else Missing.MIGRATIONS
        except UndefinedTable:
            known = Missing.MIGRATIONS
        except Exception:
            known = Missing.POSTGRESQL
        with self._lock:
            self._known, self._asking, self._fresh_until = known, None, time.monotonic() + FRESH_SECONDS
