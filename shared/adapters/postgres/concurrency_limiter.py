"""Permits for attempts of stages with a strict cap, by PostgreSQL's advisory locks: one lock for each permit."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog

from shared.adapters.postgres.database import Connection, Database
from shared.domain.errors import Unavailable
from shared.domain.stages import Stage

# One advisory lock for each permit; it ends with its session.
TRY_LOCK_PERMIT = "SELECT pg_try_advisory_lock(%s, %s) AS taken"

# A machine that vanished is noticed within 20 seconds, not after hours; and this session never waits for a lock.
SESSION_SETTINGS = (
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET statement_timeout = '5s'",
)

# Given back at the end of the attempt.
UNLOCK_PERMIT = "SELECT pg_advisory_unlock(%s, %s)"

log = structlog.get_logger()


class PostgresConcurrencyLimiter:
    """All permits of this process are held by one session of its own, outside the pool: they are free as soon as
    PostgreSQL sees that the process is gone. If the session is lost, those that are held are taken again before any
    other; if another process was quicker, the cap is exceeded until this one's attempt ends, and the log says so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._held: set[tuple[int, int]] = set()

    @contextmanager
    def acquire(self, stage: Stage) -> Iterator[bool]:
        permit = self._take_free(stage)
        try:
            yield permit is not None
        finally:
            if permit:
                self._free(permit)

    def _take_free(self, stage: Stage) -> tuple[int, int] | None:
        kind = zlib.crc32(stage.type.encode()) - 2**31
        with self._lock:
            for number in range(stage.concurrency):
                permit = (kind, number)
                # The session's own locks don't keep itself out.
                if permit not in self._held and self._ask(permit):
                    self._held.add(permit)
                    return permit
        return None

    def _ask(self, permit: tuple[int, int]) -> bool:
        try:
            row = self._session().execute(TRY_LOCK_PERMIT, permit).fetchone()
        except psycopg.Error as error:
            self._connection = None
            raise Unavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error
        return bool(row and row["taken"])

    def _session(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
            for setting in SESSION_SETTINGS:
                self._connection.execute(setting)
            for permit in self._held:
                row = self._connection.execute(TRY_LOCK_PERMIT, permit).fetchone()
                if not (row and row["taken"]):
                    log.warning("limiter.exceeded", permit=permit[1])
        return self._connection

    def _free(self, permit: tuple[int, int]) -> None:
        with self._lock:
            self._held.discard(permit)
            try:
                if self._connection is not None:
                    self._connection.execute(UNLOCK_PERMIT, permit)
            except psycopg.Error:
                self._connection = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
