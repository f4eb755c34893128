"""One seed over real connections: chaos, then healing without an operator, then what must hold in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from shared.domain.errors import Unavailable
from tests.simulation.broker import Sent
from tests.simulation.invariants import Broken
from tests.simulation.real import actions, ending, healing
from tests.simulation.real.clients import Client, Request
from tests.simulation.real.clocks import VirtualClock
from tests.simulation.real.edge import Edge
from tests.simulation.real.history import History
from tests.simulation.real.journal import Journal
from tests.simulation.real.ledger import Ledger
from tests.simulation.real.outside import Outside, TopicalBroker
from tests.simulation.real.processes import Process
from tests.simulation.real.profile import Profile
from tests.simulation.real.restores import Backup
from tests.simulation.real.scheduler import Scheduler
from tests.simulation.real.task import Task
from tests.simulation.real.watch import Watch
from tests.simulation.real.world import World
from tests.simulation.tasks import Crash


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
        self.delivered = self.started = 0
        self.books: Counter[str] = Counter()
        self.backup: Backup | None = None

    @property
    def api(self) -> Process:
        return self.world.api

    @property
    def processes(self) -> list[Process]:
        return self.world.processes

    def run(self) -> None:
        """Chaos, then healing, then what must hold, before and after retention has had its say. Raises Broken."""
        try:
            while actions.act(self):
                self.look()
            healing.calm_down(self)
            healing.go_on_until_all_is_done(self)
            self._check()
            healing.let_days_pass(self)
        finally:
            self.scheduler.close()
        self._check()

    def finish(self) -> None:
        """What was begun goes on to its end, in the weather that there is; then as above."""
        try:
            healing.go_on_until_all_is_done(self)
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
