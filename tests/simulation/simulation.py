"""One seed: chaos, then healing, then every invariant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from shared.domain.stages import LEASE_SECONDS
from tests.simulation import actions, invariants, owners
from tests.simulation.baseline import Rows
from tests.simulation.boundary import Boundary
from tests.simulation.broker import Sent, SimulatedBroker
from tests.simulation.clients import Client
from tests.simulation.history import History
from tests.simulation.invariants import Broken
from tests.simulation.ledger import Ledger
from tests.simulation.owners import Request
from tests.simulation.tasks import Scheduler, Task
from tests.simulation.world import Process, SimulatedClock, World

# Twice what the slowest of a thousand seeds took: 30 minutes, 1,500 events.
_HEALING_ROUNDS, _HEALING_EVENTS = 60, 3_000
_SHOWN = 60


@dataclass(kw_only=True)
class Report:
    """What one seed came to, in the simulation that is named `only`. `broken` is None if every invariant held.

    `in_vain` counts calls of models that were away.
    """

    seed: int
    broken: Broken | None
    trace: list[str]
    faults: Counter[str]
    books: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    lost_answers: int = 0
    paid_anew: int = 0
    forced: int = 0
    raced: int = 0
    lost: int = 0
    paid_twice: int = 0
    statements: int = 0
    in_vain: int = 0
    only: str = "fast"

    def __str__(self) -> str:
        if self.broken is None:
            return f"seed {self.seed}: every invariant held"
        last = "\n".join(f"    {event}" for event in self.trace[-_SHOWN:])
        return (
            f"seed {self.seed} broke: {self.broken.invariant}\n  {self.broken}\n  the last events:\n{last}\n"
            f"  replay it:  ./infra/dev sim --only {self.only} --seed {self.seed} --trace"
        )


class Simulation:
    """Those who use a world, and what happens next in it. `assembly.assemble` makes one.

    `without_faults` tells what a run without faults makes of a text.
    """

    def __init__(
        self, seed: int, world: World, clients: list[Client], *, without_faults: Callable[[str], Rows]
    ) -> None:
        self.seed = seed
        self.world: World = world
        self.clients: list[Client] = clients
        self.without_faults = without_faults
        self.rng: Random = world.rng
        self.scheduler: Scheduler = world.scheduler
        self.broker: SimulatedBroker = world.broker
        self.boundary: Boundary = world.boundary
        self.clock: SimulatedClock = world.clock
        self.ledger: Ledger = world.ledger
        self.history = History(self)
        self.events: list[tuple[datetime, str, str]] = []
        self.steps: int = 0
        self.started = 0
        self.delivered = 0
        self.paid_twice = self.healing_began = 0
        self.ended_as: list[str] = []
        self.requests: list[Request] = []
        self.unexpected: list[str] = []
        self.batches: list[str] = []

    def note(self, what: str) -> None:
        running = self.scheduler.current
        self.events.append((self.clock(), running.name if running else "-", what))

    def count(self, fault: str) -> None:
        self.boundary.count(fault)

    def run(self) -> None:
        """Chaos, then healing. Raises Broken."""
        try:
            while actions.act(self):
                pass
            self._heal()
        finally:
            self.scheduler.close()

    def check(self) -> None:
        """Whether all is as it must be in the end. Raises Broken."""
        rows = self.world.database.rows("SELECT status FROM processing_status WHERE entity_type = 'book'")
        self.ended_as = [r["status"] for r in rows]
        self.paid_twice = invariants.paid_twice(self)
        for check in invariants.AT_THE_END:
            check(self)

    def spawn(self, what: str, process: Process, body: Callable[[], Any], **about: Any) -> Task:
        self.started += 1
        task = Task(name=f"t{self.started} {process.name}", body=body, process=process, **about)
        self.events.append((self.clock(), task.name, what))
        return self.scheduler.start(task)

    def deliver(self, sent: Sent) -> None:
        self.broker.take(sent)
        self.delivered += 1
        process = self.rng.choice(self.world.processes)
        what = f"deliver m{sent.number} {sent.message.topic} {sent.job_id} (delivery {sent.deliveries})"
        task = self.spawn(what, process, lambda: process.deliver(sent), job_id=sent.job_id)
        task.notes.update(topic=sent.message.topic, sent=sent)
        task.on_end = lambda ended: self._answered(sent, ended)

    def reconcile(self) -> None:
        process = self.rng.choice(self.world.processes)
        self.spawn("reconcile", process, process.app.reconcile)

    def _answered(self, sent: Sent, task: Task) -> None:
        acknowledged = task.error is None and task.outcome < 300
        lost = self.boundary.faulty and self.rng.random() < self.world.profile.unacknowledged
        if acknowledged and not lost:
            self.broker.acknowledge(sent)
            return
        if acknowledged:
            self.count("acknowledgement lost")
            self.events.append((self.clock(), task.name, "FAULT its acknowledgement is lost"))
        self.broker.refuse(sent)

    def ended(self, task: Task) -> None:
        """Note it, and check what must hold after each task. Raises Broken."""
        result = type(task.error).__name__ if task.error else getattr(task.outcome, "status_code", task.outcome)
        self.events.append((self.clock(), task.name, f"ends: {result}"))
        self.ledger.ended(task)
        if self.history.broken:
            raise self.history.broken
        invariants.no_handler_raises_what_nobody_expects(task)
        if self.history.changed:
            self.history.changed = False
            invariants.readers_see_only_complete_versions(self)

    def crash(self, task: Task) -> None:
        """The process dies: all the tasks in it, and what it remembered."""
        task.process.restart()
        for other in self.scheduler.tasks:
            if other.process is task.process:
                other.killed = True
                self.ledger.fault(other)
                if other is not task:
                    self.count("crash of a neighbour")

    def outlive_lease(self, task: Task) -> None:
        """Let so much time pass that the task's lease is over, and leave the task alone for a while."""
        self.clock.advance(LEASE_SECONDS + self.rng.randrange(1, 30))
        if "sent" in task.notes and self.rng.random() < 0.7:
            # A broker doesn't wait for ever either.
            self.broker.send(task.notes["sent"].message)
        task.wakes = self.scheduler.steps + self.rng.choice([0, 40, 120])

    def clock_moved(self) -> None:
        """Let each attempt know the latest time that it has seen."""
        for task in self.scheduler.tasks:
            if task.highest is not None:
                task.highest = max(task.highest, self.clock())

    def _heal(self) -> None:
        self.boundary.faulty = False
        self.boundary.outages.clear()
        self.healing_began = len(self.events)
        self.events.append((self.clock(), "-", "HEALING"))
        for minute in range(_HEALING_ROUNDS):
            self._settle()
            if minute and not self._unfinished() and not self._mend():
                return
            if len(self.events) > self.healing_began + _HEALING_EVENTS:
                break
            self.clock.advance(61)
            self.reconcile()
        raise Broken("healing ends", f"after {minute} minutes, not finished: {self._unfinished()}")

    def _mend(self) -> bool:
        """What owners and operators do when the storm is over. False if nothing is left to do."""
        books = self.world.database.rows("""
            SELECT entity_id::text AS id FROM processing_status WHERE entity_type = 'book' AND status = 'cancelled'""")
        cancelled = {b["id"] for b in books}
        for client in self.clients:
            if client.book_id in cancelled:
                owners.control(self, client, "resume")
        if invariants.can_be_redriven(self):
            owners.redrive_all(self)
        return bool(self.requests)

    def _settle(self) -> None:
        """Runs all that can run now."""
        while True:
            for client in self.clients:
                client.retry(self)
            for request in list(self.requests):
                request.send(self)
            for sent in self.broker.due():
                self.deliver(sent)
            if not self.scheduler.tasks:
                return
            while self.scheduler.tasks:
                self.scheduler.step_any()
            if len(self.events) > self.healing_began + _HEALING_EVENTS:
                return

    def sleeping(self) -> set[str]:
        """The jobs whose handlers are slower than their lease just now."""
        return {t.job_id for t in self.scheduler.tasks if t.job_id and t.wakes > self.scheduler.steps}

    def is_finished(self) -> bool:
        return not self.scheduler.tasks and not any(c.has_more for c in self.clients) and not self._unfinished()

    def _unfinished(self) -> list[str]:
        rows = self.world.database.rows("""
            SELECT job_id || ' ' || state AS what FROM jobs WHERE state IN ('pending', 'processing', 'retrying')""")
        # What was written before the clock jumped back is found when it has caught up.
        later = self.clock.peak + timedelta(minutes=1)
        lagging = self.world.api.app.projections.lagging(later, 1000)
        rows += [{"what": f"document {d.path}"} for d in lagging]
        rows += self.world.database.rows("""
            SELECT 'redrive ' || dead_letter_id || ' ' || outcome AS what
            FROM dead_letter_actions JOIN dead_letters d USING (dead_letter_id)
            WHERE finished_at IS NULL AND NOT EXISTS (
                -- It ends when the book is resumed.
                SELECT 1 FROM jobs j WHERE j.job_id = d.job_id AND j.state = 'cancelled')""")
        waiting = [f"m{s.number}" for s in self.broker.waiting]
        return (
            [r["what"] for r in rows]
            + waiting
            + [c.name for c in self.clients if c.wants]
            + [r.path for r in self.requests]
        )
