"""The edge of each statement, and of each call of what is outside: here control changes hands, and things fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

from tests.simulation.real.clocks import REAL_CLOCK, DatabaseClock, VirtualClock
from tests.simulation.real.profile import Profile
from tests.simulation.real.scheduler import Scheduler
from tests.simulation.real.task import Task
from tests.simulation.real.watch import Watch
from tests.simulation.tasks import Crash

# Seconds that a thread stands still: less than a lease, than the silence that a session may keep; or far more.
STALLS = (0.5, 2.0, 4.0, 6.0, 8.0, 15.0, 40.0, 120.0)
_IN_TRANSACTION = psycopg.pq.TransactionStatus.INTRANS


class Edge:
    """`crash` ends a task's process, `committed` hears that what a task did can be seen."""

    def __init__(
        self,
        rng: random.Random,
        scheduler: Scheduler,
        profile: Profile,
        clock: VirtualClock,
        database_clock: DatabaseClock,
        watch: Watch,
    ) -> None:
        self._rng, self._scheduler, self._profile = rng, scheduler, profile
        self._clock, self._database_clock, self._watch = clock, database_clock, watch
        self.faulty = True
        self.faults: Counter[str] = Counter()
        self.deadlocks: list[str] = []
        self._ended: set[int] = set()
        self.statements = 0
        self.note: Callable[[str], None] = lambda what: None
        self.crash: Callable[[Task], None] = lambda task: None
        self.committed: Callable[[Task], None] = lambda task: None

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    # Called by tasks, at each statement.

    def before_statement(self, task: Task, connection: Any, query: str) -> None:
        if task.killed:
            # Even if something took its crash for an error that may pass: a session that was gone, say.
            raise Crash
        self.statements += 1
        self._switch(task)
        if self.faulty:
            self._fail(task, connection, query)
        if REAL_CLOCK in query or self._scheduler.waiting:
            self._database_clock.show(self._clock())
        self.note(_name(query))

    def after_statement(self, task: Task, connection: Any, query: str) -> None:
        if connection.autocommit and not task.killed:
            self._scheduler.settle()
            if not query.lstrip().startswith("SELECT"):
                self.committed(task)

    def before_commit(self, task: Task, connection: Any) -> None:
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.before_statement(task, connection, "COMMIT")

    def after_commit(self, task: Task, connection: Any) -> None:
        if task.killed or not task.connection:
            return
        self._scheduler.settle()
        self.committed(task)
        if self.faulty and self._rng.random() < self._profile.unknown_commit:
            self._told("commit whose answer is lost")
            task.notes["faults"] = task.notes.get("faults", 0) + 1
            raise psycopg.OperationalError("simulated: the answer to a commit is lost")
        if self.faulty and self._rng.random() < 3 * self._profile.crash:
            self._crash(task, "after a commit")

    def before_rollback(self, task: Task) -> None:
        if not task.killed:
            self._switch(task)

    def after_rollback(self) -> None:
        self._scheduler.settle()

    # Called by tasks, at what is outside.

    def call(self, task: Task, what: str) -> None:
        """Before and after each call: it may crash here, or take long."""
        if task.killed:
            raise Crash
        self._switch(task)
        self.note(what)
        if self.faulty and self._rng.random() < 2 * self._profile.crash:
            self._crash(task, "in a call")
        if self.faulty and self._rng.random() < 5 * self._profile.stall:
            self.count("stall in a call")
            self.stall(task, self._rng.choice(STALLS))

    def pause(self, task: Task) -> None:
        self._scheduler.pause(task)

    def stall(self, task: Task, seconds: float) -> None:
        """Stand still for so many virtual seconds."""
        self.note(f"STALL for {seconds:g} s")
        self.hold(task, seconds)

    def hold(self, task: Task, seconds: float) -> None:
        """Stand still on purpose."""
        task.wakes = self._clock() + timedelta(seconds=seconds)
        self._scheduler.pause(task)

    def wait(self, task: Task, is_ready: Callable[[], bool], seconds: float, refuse: Callable[[], None]) -> None:
        """Wait for a connection of the pool, and be refused after some virtual seconds."""
        if is_ready() or task.killed:
            return
        self._told("empty pool")
        deadline = self._clock() + timedelta(seconds=seconds)
        task.is_ready = lambda: is_ready() or self._clock() >= deadline
        self._scheduler.pause(task)
        task.is_ready = lambda: True
        if not is_ready():
            self._told("pool that stays empty")
            refuse()

    def _switch(self, task: Task) -> None:
        if self._rng.random() < self._profile.switch:
            self._scheduler.pause(task)

    def _fail(self, task: Task, connection: Any, query: str) -> None:
        p, drawn = self._profile, self._rng.random()
        in_transaction = connection.info.transaction_status == _IN_TRANSACTION
        if drawn < p.crash:
            self._crash(task, "before a statement")
        elif drawn < p.crash + p.stall:
            self.count("stall in a transaction" if in_transaction else "stall before a statement")
            self.stall(task, self._rng.choice(STALLS))
        elif drawn < p.crash + p.stall + p.lost_session:
            self._told("session terminated")
            self._terminate(connection)
        elif drawn < p.crash + p.stall + p.lost_session + p.statement_error:
            self._told("statement fails" if in_transaction else "statement fails outside of a transaction")
            task.notes["faults"] = task.notes.get("faults", 0) + 1
            raise psycopg.errors.DeadlockDetected("simulated: somebody else's deadlock")

    def _crash(self, task: Task, where: str) -> None:
        self.count(f"crash {where}")
        self.note(f"CRASH {where}")
        self.crash(task)
        raise Crash

    def _told(self, fault: str) -> None:
        self.count(fault)
        self.note(f"FAULT {fault}")

    # Called by the scheduler's side, when time has passed.

    def keep_limits(self) -> None:
        """End what waits for a lock, or is silent in a transaction, longer than PostgreSQL would let it."""
        now = self._clock()
        for task in list(self._scheduler.waiting):
            limit = timedelta(seconds=task.connection.limits.lock)
            if task.blocked_since is not None and now - task.blocked_since > limit:
                self._told("lock not given in time")
                self._scheduler.give_up_waiting(task)
        for task in self._scheduler.tasks:
            self._end_if_silent(task)

    def _end_if_silent(self, task: Task) -> None:
        connection = task.connection
        if connection is None or task.stepped is None or task in self._scheduler.waiting:
            return
        silence = self._clock() - task.stepped
        if silence < timedelta(seconds=connection.limits.idle_in_transaction):
            return
        is_there = connection.info.backend_pid not in self._ended
        if is_there and connection.info.transaction_status == _IN_TRANSACTION:
            self._told("session silent for too long")
            self._terminate(connection)

    def _terminate(self, connection: Any) -> None:
        """End the session: its transaction is rolled back, and its locks are free."""
        self._ended.add(connection.info.backend_pid)
        self._watch.terminate(connection.info.backend_pid)
        self._scheduler.settle()


def _name(query: str) -> str:
    """A statement in a trace: its beginning, in one line."""
    return " ".join(query.split())[:70]
