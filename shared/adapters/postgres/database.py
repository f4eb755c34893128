"""Connections to PostgreSQL: a small pool, opened at first use, and the one place where its errors are translated."""

from __future__ import annotations

import atexit
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from pgvector import Vector as PgVector
from pgvector.psycopg import register_vector
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from shared.adapters.postgres.sessions import SessionLimits, limited
from shared.domain.embeddings import MAX_DIMENSIONS, Vector
from shared.domain.errors import Rejected, Unavailable

Connection = psycopg.Connection[DictRow]

CONNECT_SECONDS = 10
DEFAULT_LIMITS = SessionLimits()


class Database:
    """A pool of at most `size` connections. `connection_class` is psycopg's own, or one that dials Cloud SQL.

    A caller waits no longer than `connect_seconds` for a connection. Every session has the same `limits`.
    """

    def __init__(
        self,
        dsn: str,
        size: int = 4,
        connection_class: Callable[[], type[Connection]] | None = None,
        connect_seconds: int = CONNECT_SECONDS,
        limits: SessionLimits = DEFAULT_LIMITS,
    ) -> None:
        self._dsn = dsn
        self._limits = limits
        self._size = size
        # One connector dials for the pool, and for what is outside of it.
        self._connection_class = cache(connection_class) if connection_class else None
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._open: ConnectionPool[Connection] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection in a transaction: committed at the end, rolled back on any error.

        Raises Unavailable, and Rejected for what PostgreSQL can never hold.
        """
        with self._lend() as connection, connection.transaction():
            yield connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Lend a connection on which each statement is a transaction of its own: one round trip instead of three.

        Raises as `transaction` does.
        """
        with self._lend() as connection:
            yield connection

    @contextmanager
    def _lend(self) -> Iterator[Connection]:
        try:
            with self._pool().connection() as connection:
                yield connection
        except psycopg.errors.ProgramLimitExceeded as error:
            raise Rejected(f"PostgreSQL can't hold it: {error.diag.message_primary}") from error
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout, PoolTimeout) as error:
            # Also locks that are not given in time, deadlocks, a full disk and a server that is shutting down: all
            # may pass.
            raise Unavailable(f"PostgreSQL: {_what(error)}") from error

    def connect(self) -> Connection:
        """Open a connection outside the pool, where each statement is its own transaction. Raises Unavailable."""
        try:
            connection: Connection = self._class().connect(limited(self._dsn, self._limits), **self._options())
            return connection
        except psycopg.OperationalError as error:
            raise Unavailable(f"PostgreSQL: {_what(error)}") from error

    def apart(self, size: int, limits: SessionLimits) -> Database:
        """Another pool on the same database, for what must not wait for this one."""
        return Database(self._dsn, size, self._connection_class, self._connect_seconds, limits)

    def _options(self) -> dict[str, Any]:
        return {"autocommit": True, "row_factory": dict_row, "connect_timeout": self._connect_seconds}

    def _class(self) -> Any:
        return self._connection_class() if self._connection_class else psycopg.Connection

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None
                atexit.unregister(self.close)

    def _pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._open is None:
                self._open = ConnectionPool(
                    limited(self._dsn, self._limits),
                    connection_class=self._class(),
                    kwargs=self._options(),
                    min_size=0,
                    max_size=self._size,
                    max_idle=60,
                    timeout=self._connect_seconds,
                    # Else it waits twice as long after each failure, for up to five minutes, and every caller too.
                    reconnect_timeout=self._connect_seconds,
                    configure=register_vector,
                    check=_check,
                    open=True,
                )
                # Else, since Python 3.13, the pool would keep a process that ends for 5 s a thread: psycopg's #954.
                atexit.register(self.close)
            return self._open


def _check(connection: Connection) -> None:
    """Raise OperationalError if the server has ended the connection, without a round trip for one that lives: between
    two transactions a server sends nothing but its goodbye."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if poller.poll(0):
        ConnectionPool.check_connection(connection)


def _what(error: Exception) -> str:
    """The error in words that users may see: no host, and no detail that quotes a row."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return f"{type(error).__name__}: {primary or 'it can not be reached'}"


def to_column(vector: Vector) -> PgVector:
    """Padded with zeros to the column's dimensions: the cosine stays the same. Raises ValueError if it has more."""
    if len(vector) > MAX_DIMENSIONS:
        raise ValueError(f"a vector has {len(vector)} dimensions, and the column {MAX_DIMENSIONS}")
    return PgVector(vector + [0.0] * (MAX_DIMENSIONS - len(vector)))


def from_column(value: PgVector, dimensions: int) -> Vector:
    numbers: Vector = value.to_list()
    return numbers[:dimensions]
