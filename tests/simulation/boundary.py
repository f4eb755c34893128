"""The edge of every port's call: here control may change hands, and here things fail."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.rows import dict_row

from shared.adapters.postgres.database import Connection
from shared.domain.errors import ModelUnavailable, Unavailable
from tests.simulation import names
from tests.simulation.profile import Profile
from tests.simulation.tasks import Crash, Scheduler, Task
from tests.support.world import clocked

# What is done here and then forgotten hurts most: the simulation crashes here more often than elsewhere.
COMMITS = (names.IMPORT, names.COMMIT, names.KEEP_VECTORS, names.PUBLISH)


class Simulated(Exception):
    """An unexpected error, on purpose."""


class Boundary:
    """Before a call nothing is done yet; after it all is done, and the caller may never learn.

    `on_commit` hears of transactions that committed, `slow` lets a task's lease run out, `crash` ends its process.
    """

    def __init__(self, rng: random.Random, scheduler: Scheduler, profile: Profile) -> None:
        self._rng = rng
        self._scheduler = scheduler
        self._profile = profile
        self.faulty = True
        self.faults: Counter[str] = Counter()
        self.outages: dict[str, int] = {}
        self.note: Callable[[str], None] = lambda what: None
        self.on_fault: Callable[[Task], None] = lambda task: None
        self.on_commit: Callable[[Task, str], None] = lambda task, port: None
        self.slow: Callable[[Task], None] = lambda task: None
        self.crash: Callable[[Task], None] = lambda task: None

    def before(self, port: str) -> None:
        task = self._scheduler.current
        if task is None:
            return
        self._scheduler.check(task)
        self._maybe_switch(task)
        if self.faulty:
            self._maybe_fail(task, port, "before")
        self.note(port)

    def after(self, port: str) -> None:
        task = self._scheduler.current
        if task is None:
            return
        self._scheduler.check(task)
        if self.faulty:
            self._maybe_fail(task, port, "after")
        self._maybe_switch(task)

    def committed(self, port: str) -> None:
        if self._scheduler.current is not None:
            self.on_commit(self._scheduler.current, port)

    def _maybe_switch(self, task: Task) -> None:
        if self._rng.random() < self._profile.switch:
            self._scheduler.pause(task)

    def _maybe_fail(self, task: Task, port: str, when: str) -> None:
        kind = port.partition(".")[0]
        p = self._profile
        crash = p.crash * (3 if when == "after" and port in COMMITS else 1)
        if p.sore == (port, when, task.notes.get("topic")):
            crash = 0.5
        slow = p.slow * (8 if kind in names.MODELS or port == names.REUSABLE else 1)
        drawn = self._rng.random()
        if drawn < crash:
            self.count(f"crash {when} a call")
            self.note(f"CRASH {when} {port}")
            self.crash(task)
            raise Crash
        if drawn < crash + slow:
            self.count("lease expired under way")
            self.note(f"SLOW {when} {port}")
            self.slow(task)
            self._scheduler.pause(task)
            if kind in names.MODELS and self._rng.random() < 0.5:
                self.count("model took too long")
                self.note(f"FAULT model took too long: {port}")
                self.on_fault(task)
                raise ModelUnavailable("simulated: the model took too long")
            return
        self._maybe_raise(task, port, kind, when)

    def _maybe_raise(self, task: Task, port: str, kind: str, when: str) -> None:
        p = self._profile
        known = {
            names.PUBLISHER: (p.broker, "broker"),
            names.LIVE_DOCUMENTS: (p.live_documents, "live documents"),
            names.EMBEDDER: (p.model, "model"),
            names.EXTRACTOR: (p.model, "model"),
        }
        rate, name = known.get(kind, (p.database, "database"))
        if when == "after":
            rate /= 3
        down = when == "before" and self.outages.get(kind, 0) > 0
        drawn, choice = self._rng.random(), self._rng.random()
        if not down and drawn >= rate:
            return
        away = ModelUnavailable if name == "model" else Unavailable
        error: Exception = away(f"simulated: the {name} is down")
        what = f"{name} down {when} a call"
        if name == "model" and choice < 0.3:
            error, what = ModelUnavailable("simulated: slow down", retry_after=60 + 200 * choice), "model asks to wait"
        elif name == "model" and choice < 0.6:
            error, what = Simulated("simulated: something odd"), "model fails unexpectedly"
        self.count(what)
        self.note(f"FAULT {what}: {port}")
        self.on_fault(task)
        raise error

    def count(self, fault: str) -> None:
        self.faults[fault] += 1


class Proxy:
    """An implementation of `port`: each public method has a boundary around it."""

    def __init__(self, target: Any, port: type, boundary: Boundary) -> None:
        self._target, self._name, self._boundary = target, port.__name__, boundary

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._target, attribute)
        if not callable(value) or attribute.startswith("_"):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._boundary.before(f"{self._name}.{attribute}")
            result = value(*args, **kwargs)
            self._boundary.after(f"{self._name}.{attribute}")
            return result

        return call


def _caller_of(frame: FrameType | None) -> str:
    """`Class.method`, as `names` has it."""
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_code.co_qualname


class SimulatedDatabase:
    """In place of the pool: one connection, since only one task runs at a time and none pauses in a transaction.

    Every port over PostgreSQL comes through here, each of its methods as one transaction: a boundary before BEGIN
    and after COMMIT is one around each port's method, and around every commit.
    """

    def __init__(self, dsn: str) -> None:
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.connection: Connection = clocked(lambda: self.clock())().connect(dsn, row_factory=dict_row)
        register_vector(self.connection)
        # A third faster, and the plans do not depend on how often a statement ran before.
        self.connection.execute("SET plan_cache_mode = force_generic_plan")
        self.connection.commit()
        self.boundary: Boundary | None = None

    def transaction(self) -> _Lent:
        return _Lent(self.connection, self.boundary, _caller_of(inspect.currentframe()), autocommit=False)

    def statements(self) -> _Lent:
        """Each of them changes one thing, or reads: a boundary between two of them would show nothing more."""
        return _Lent(self.connection, self.boundary, _caller_of(inspect.currentframe()), autocommit=True)

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """For checks: no boundary."""
        found = self.connection.execute(query, values).fetchall()
        self.connection.commit()
        return found

    def close(self) -> None:
        """It outlives the Apps that share it."""


class _Lent:
    def __init__(self, connection: Connection, boundary: Boundary | None, port: str, *, autocommit: bool) -> None:
        self._connection, self._boundary, self._port, self._autocommit = connection, boundary, port, autocommit

    def __enter__(self) -> Connection:
        if self._boundary:
            self._boundary.before(self._port)
        assert self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE, "nested transactions"
        self._connection.autocommit = self._autocommit
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._connection.rollback()
            return
        self._connection.commit()  # nothing, where each statement has committed
        if self._boundary:
            self._boundary.committed(self._port)
            self._boundary.after(self._port)
