"""A connection beside the simulation: who waits for a lock, what the rows say; and it ends statements and sessions.

Of several that wait for one row PostgreSQL does not always serve the first: when it was updated, whoever is quicker finds
its new version. So the backends of those that wait are stopped, as the system may stop any process, and go on one by
one. Whoever waits holds nothing that others need but its locks.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

# Locks that are not given yet, by the backend that waits, and who has what it waits for.
SELECT_WAITS = """
    SELECT DISTINCT pid, pg_blocking_pids(pid) AS blockers FROM pg_locks WHERE NOT granted AND pid = ANY(%s)
"""
# Done when this returns: its locks are free.
TERMINATE = "SELECT pg_terminate_backend(%s, 10000)"
CANCEL = "SELECT pg_cancel_backend(%s)"

# Virtual time is not PostgreSQL's: the simulation ends what waits, or is silent, too long. No backend looks for deadlocks
# before it is stopped: then it would hold what all need. Plans do not depend on how often a statement ran before.
_SESSION = {
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",
    "deadlock_timeout": "1s",
    "plan_cache_mode": "force_generic_plan",
}


def simulated(dsn: str) -> str:
    """The DSN of the sessions of simulated processes. What a DSN says itself holds against `SessionLimits`."""
    options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    return make_conninfo(dsn, options=options)


class Watch:
    """Sees what has committed, as somebody from outside would."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(simulated(dsn), row_factory=dict_row, autocommit=True)
        self._stopped: set[int] = set()

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self._connection.execute(query, values).fetchall()

    def execute(self, query: str, *values: Any) -> None:
        self._connection.execute(query, values)

    def waits(self, backends: Collection[int]) -> Mapping[int, Collection[int]]:
        """Those of the backends that wait for a lock, each with those that it waits for."""
        return {r["pid"]: r["blockers"] for r in self.rows(SELECT_WAITS, list(backends))}

    def stop(self, backend: int) -> None:
        """Let the server's process stand still; it waits for a lock."""
        self._stopped.add(backend)
        os.kill(backend, signal.SIGSTOP)

    def let_go(self, backend: int) -> None:
        self._stopped.discard(backend)
        with suppress(ProcessLookupError):
            os.kill(backend, signal.SIGCONT)

    def cancel(self, backend: int) -> None:
        self.execute(CANCEL, backend)
        self.let_go(backend)

    def terminate(self, backend: int) -> None:
        """Return when the session is gone, with its transaction and locks."""
        self.let_go(backend)
        self.execute(TERMINATE, backend)

    def close(self) -> None:
        """A server whose processes stand still could not end."""
        for backend in list(self._stopped):
            self.let_go(backend)
        self._connection.close()
