"""Real connections whose statements are steps: the thread stops before each, until the scheduler lets it go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow

from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.sessions import SessionLimits
from shared.domain.errors import Unavailable
from tests.simulation.real.clocks import REAL_CLOCK, VIRTUAL_CLOCK
from tests.simulation.real.task import this_task


class SteppedCursor(psycopg.Cursor[DictRow]):
    """Every statement of a simulated process comes through here, a COPY too."""

    def execute(self, query: Any, params: Any = None, **how: Any) -> SteppedCursor:
        with _step(self.connection, str(query)):
            super().execute(query.replace(REAL_CLOCK, VIRTUAL_CLOCK), params, **how)
        return self

    @contextmanager
    def copy(self, statement: Any, params: Any = None, **how: Any) -> Iterator[psycopg.Copy]:
        with _step(self.connection, str(statement)):
            with super().copy(statement, params, **how) as copy:
                yield copy


class SteppedConnection(psycopg.Connection[DictRow]):
    """`limits` are those of the pool that has lent it: the simulation keeps them, in virtual time."""

    limits = SessionLimits()

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.cursor_factory = SteppedCursor

    @contextmanager
    def transaction(self, *how: Any, **more: Any) -> Iterator[Any]:
        """As psycopg's own, by `commit` and `rollback`."""
        self.autocommit = False
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise
        finally:
            if not self.closed:
                self.autocommit = True

    def commit(self) -> None:
        task = this_task()
        if task is None:
            return super().commit()
        try:
            task.edge.before_commit(task, self)
        except BaseException:
            # What crashes or fails here has committed nothing.
            super().rollback()
            raise
        super().commit()
        task.edge.after_commit(task, self)
        return None

    def rollback(self) -> None:
        task = this_task()
        try:
            if task is not None:
                task.edge.before_rollback(task)
        finally:
            super().rollback()
            if task is not None:
                task.edge.after_rollback()


@contextmanager
def _step(connection: Any, query: str) -> Iterator[None]:
    task = this_task()
    if task is None:
        yield
        return
    task.edge.before_statement(task, connection, query)
    task.connection = connection
    task.begin_statement(connection.info.backend_pid)
    try:
        yield
    except psycopg.errors.DeadlockDetected as error:
        task.edge.deadlocks.append(f"{task.name}: {query}\n{error}")
        raise
    except psycopg.errors.QueryCanceled as error:
        raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout") from error
    finally:
        if task.end_statement():
            task.edge.pause(task)
    task.edge.after_statement(task, connection, query)


class SimulatedDatabase(Database):
    """The real pool, but a task that finds it empty waits as the scheduler says, for as long as the real one would.

    It outlives the Apps that share it: to connect costs more than most seeds.
    """

    def __init__(self, dsn: str, size: int, limits: SessionLimits | None = None) -> None:
        how = limits or SessionLimits()
        super().__init__(dsn, size, lambda: SteppedConnection, limits=how)
        self.lent = 0
        self._apart: dict[int, SimulatedDatabase] = {}

    def apart(self, size: int, limits: SessionLimits) -> SimulatedDatabase:
        return self._apart.setdefault(size, SimulatedDatabase(self._dsn, size, limits))

    @contextmanager
    def _lend(self) -> Iterator[Connection]:
        task = this_task()
        if task is None:
            with super()._lend() as connection:
                yield connection
            return
        task.edge.wait(task, lambda: self.lent < self._size, self._connect_seconds, self._refuse)
        self.lent += 1
        try:
            with super()._lend() as connection:
                connection.limits = self._limits  # type: ignore[attr-defined]
                yield connection
        finally:
            self.lent -= 1
            task.connection = None

    def _refuse(self) -> None:
        raise Unavailable("PostgreSQL: PoolTimeout: it can not be reached")

    def end(self) -> None:
        """Close all that was opened."""
        for other in self._apart.values():
            other.end()
        super().close()

    def close(self) -> None:
        """Nothing: see above."""
