"""One seed over real connections: chaos, then healing without an operator, then what must hold in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import tests.simulation.real.weather  # noqa: F401 - its actions are added
from shared.domain.errors import Unavailable
from tests.simulation.broker import Sent
from tests.simulation.invariants import Broken
from tests.simulation.real import actions, ending
from tests.simulation.real.clients import Client, Request
from tests.simulation.real.clocks import VirtualClock
from tests.simulation.real.edge import Edge
from tests.simulation.real.history import History
from tests.simulation.real.journal import Journal
from tests.simulation.real.ledger import Ledger
from tests.simulation.real.outside import Outside, TopicalBroker
from tests.simulation.real.processes import Process
from tests.simulation.real.profile import Profile
from tests.simulation.real.tasks import Scheduler, Task
from tests.simulation.real.watch import Watch
from tests.simulation.real.world import World
from tests.simulation.tasks import Crash

# Far more than the slowest of some hundred seeds took.
_HEALING_ROUNDS, _HEALING_STEPS = 400, 20_000
# What reconcile tries again ever more rarely is waited for in longer steps.
_MINUTES = (1,) * 20 + (5,) * 20 + (30,) * 360

SELECT_UNFINISHED = """
    SELECT 'job ' || job_id || ' ' || state AS what FROM jobs WHERE state IN ('pending', 'processing', 'retrying')
    UNION ALL SELECT 'book ' || entity_id || ' ' || status FROM processing_status
    WHERE entity_type = 'book' AND status NOT IN ('completed', 'failed')
    UNION ALL SELECT 'letter ' || d.job_id || ': ' || d.message FROM dead_letters d JOIN books b USING (book_id)
    WHERE d.is_passing AND d.state IN ('open', 'redriven') AND d.version = b.latest_version
    UNION ALL SELECT 'document of ' || entity_id FROM processing_status s WHERE projected_revision < revision
        AND (entity_type = 'book'
             OR version = (SELECT max(r.version) FROM recent_chapters r WHERE r.book_id = s.book_id))
    UNION ALL SELECT 'document of ' || job_id FROM jobs WHERE projected_revision < revision
"""


class RealSimulation:
    """Those who use a world, and what happens next in it. `assembly.assemble` makes one."""

    def __init__(self, seed: int, world: World, clients: list[Client]) -> None:
        self.seed = seed
        self.world: World = world
        self.clients: list[Client] = clients
        self.rng: random.Random = world.rng
        self.profile: Profile = world.profile
        self.scheduler: Scheduler = world.scheduler
        self.clock: VirtualClock = world.clock
        self.edge: Edge = world.edge
        self.broker: TopicalBroker = world.broker
        self.outside: Outside = world.outside
        self.watch: Watch = world.watch
        self.journal: Journal = world.journal
        self.ledger: Ledger = world.ledger
        self.history = History(self)
        self.requests: list[Request] = []
        self.unexpected: list[str] = []
        self.events: list[tuple[datetime, str, str]] = []
        self.delivered = self.started = self._healing_began = 0
        self.books: Counter[str] = Counter()
        self._tasks_of_backends: dict[int, Task] = {}

    @property
    def api(self) -> Process:
        return self.world.api

    @property
    def processes(self) -> list[Process]:
        return self.world.processes

    def run(self) -> None:
        """Chaos, then healing, then what must hold. Raises Broken."""
        try:
            while actions.act(self):
                self.look()
            self._calm_down()
            self._go_on_until_all_is_done()
        finally:
            self.scheduler.close()
        self._check()

    def finish(self) -> None:
        """What was begun goes on to its end, in the weather that there is; then as above."""
        try:
            self._go_on_until_all_is_done()
        finally:
            self.scheduler.close()
        self._check()

    def _check(self) -> None:
        self.history.read(None)
        ending.check(self)

    def look(self) -> None:
        """Raises what was found to be broken."""
        if self.history.broken:
            raise self.history.broken
        if self.edge.deadlocks:
            raise Broken("nobody waits in a circle", self.edge.deadlocks[0])
        if self.unexpected:
            raise Broken("every request is answered", self.unexpected[0])

    def note(self, what: str) -> None:
        running = self.scheduler.current
        self.events.append((self.clock(), running.name if running else "-", what))

    def spawn(self, what: str, process: Any, body: Callable[[], Any], **about: Any) -> Task:
        self.started += 1
        task = Task(name=f"t{self.started} {process.name}", body=body, process=process, edge=self.edge, **about)
        task.notes["began"] = self.scheduler.steps
        self.events.append((self.clock(), task.name, what))
        return self.scheduler.start(task)

    def ask(self, request: Request) -> None:
        self.requests.append(request)
        request.send(self)

    def deliver(self, sent: Sent) -> None:
        self.broker.take(sent)
        self.delivered += 1
        awake = [p for p in self.processes if p.frozen is None or p.frozen <= self.clock()]
        process = self.rng.choice(awake or self.processes)
        what = f"deliver m{sent.number} {sent.message.topic} {sent.job_id} (delivery {sent.deliveries})"
        task = self.spawn(
            what, process, lambda: process.deliver(sent), job_id=sent.job_id, topic=str(sent.message.topic)
        )
        task.notes.update(book_id=sent.message.data["book_id"], version=sent.message.data["version"])
        task.on_end = lambda ended: self._answered(sent, ended)

    def reconcile(self) -> None:
        process = self.rng.choice(self.processes)
        self.spawn("reconcile", process, process.app.reconcile)

    def advance(self, seconds: float) -> None:
        """Time passes, for all."""
        self.clock.advance(seconds)
        self.edge.keep_limits()

    def _answered(self, sent: Sent, task: Task) -> None:
        acknowledged = task.error is None and task.outcome < 300
        if acknowledged and self.edge.faulty and self.rng.random() < self.profile.unacknowledged:
            self.edge.count("acknowledgement lost")
            acknowledged = False
        if acknowledged:
            self.broker.acknowledge(sent)
        else:
            self.broker.refuse(sent)

    # Who is told of what.

    def committed(self, task: Task) -> None:
        self._tasks_of_backends[task.connection.info.backend_pid] = task
        self.history.read(task)

    def task_of(self, backend: int) -> Task | None:
        return next(
            (t for t in self.scheduler.tasks if t.connection and t.connection.info.backend_pid == backend), None
        )

    def ended(self, task: Task) -> None:
        result = type(task.error).__name__ if task.error else getattr(task.outcome, "status_code", task.outcome)
        self.events.append((self.clock(), task.name, f"ends: {result}"))
        # A reconcile run may raise Unavailable. Nothing else gets out.
        if task.error is not None and not isinstance(task.error, Crash | Unavailable):
            raise Broken("no handler raises", f"{task.name}: {task.error!r}") from task.error

    def crash(self, task: Task) -> None:
        """The process dies: all the tasks in it, and what it remembered."""
        task.process.restart()
        for other in self.scheduler.tasks:
            if other.process is task.process and other is not task:
                other.killed = True
                self.edge.count("crash of a neighbour")

    def is_forced(self, task: Task) -> bool:
        """Whether the version of the task's book computes everything again."""
        where = (task.notes["book_id"], task.notes["version"])
        return bool(
            self.watch.rows("SELECT 1 FROM book_versions WHERE book_id = %s AND version = %s AND force", *where)
        )

    def explains_attempt(self, job_id: str) -> bool:
        return False

    # The storm is over.

    def _calm_down(self) -> None:
        """No more faults; clocks stay as they are."""
        self.edge.faulty = False
        self.outside.away.clear()
        for process in [*self.processes, self.api]:
            process.frozen = None
        self.note("HEALING")

    def _go_on_until_all_is_done(self) -> None:
        self._healing_began = self.scheduler.steps
        for number, minutes in enumerate(_MINUTES):
            self._settle()
            # One run at least: it deletes again what was written late.
            if number and not self._unfinished():
                return
            if self.scheduler.steps > self._healing_began + _HEALING_STEPS:
                break
            self._let_pass(60 * minutes + 1)
            self.reconcile()
        raise Broken("healing ends", f"not finished: {self._unfinished()[:20]}")

    def _let_pass(self, seconds: float) -> None:
        """So much time, and all that the broker delivers meanwhile."""
        end = self.clock() + timedelta(seconds=seconds)
        while due := [s.due for s in self.broker.waiting if s.due < end]:
            self.advance(max(0.0, (min(due) - self.clock()).total_seconds()))
            self._settle()
        self.advance(max(0.0, (end - self.clock()).total_seconds()))

    def _settle(self) -> None:
        """Runs all that can run now; owners resume what they cancelled, and send what was not answered."""
        while True:
            if not self.requests:
                self._resume()
            for request in [r for r in self.requests if r.may_be_sent(self.clock())]:
                request.send(self)
            for sent in self.broker.due():
                self.deliver(sent)
            if not self.scheduler.tasks:
                return
            while self.scheduler.tasks:
                actions.go_on(self)
                self.look()
            if self.scheduler.steps > self._healing_began + _HEALING_STEPS:
                return

    def _resume(self) -> None:
        """Whoever has cancelled a book goes on with it. The client that has it may not have heard of its id."""
        for book_id, status in self.history.statuses.items():
            if status["status"] == "cancelled":
                owner = self.history.books[book_id]["owner_uid"]
                next(c for c in self.clients if c.user == owner).control(self, "resume", book_id)

    def _unfinished(self) -> list[str]:
        rows = [r["what"] for r in self.watch.rows(SELECT_UNFINISHED)]
        return rows + [f"m{s.number}" for s in self.broker.waiting] + [f"{r.name} {r.path}" for r in self.requests]
