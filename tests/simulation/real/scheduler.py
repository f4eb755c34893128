"""Threads of which one runs at a time, from one statement to the next; or none, while all wait for locks.

A statement that waits for a lock of PostgreSQL gives the baton away without being asked. Its thread stops as soon as
the statement is done, and goes on when it is chosen: so the order is the seed's again.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from tests.simulation.real.task import Task, be
from tests.simulation.real.watch import Watch
from tests.simulation.tasks import Crash, Stuck, idle_worker, keep_worker

# A statement that takes longer is asked whether it waits for a lock.
_LOOK_AFTER, _LOOK_AGAIN = 0.003, 0.001
# What a quiet machine does in milliseconds.
_STUCK_SECONDS = 20.0


class Scheduler:
    """The tasks under way; `waiting` are those whose statements wait for locks."""

    def __init__(self, watch: Watch, clock: Callable[[], datetime]) -> None:
        self._watch, self._clock = watch, clock
        self.tasks: list[Task] = []
        self.waiting: list[Task] = []
        self.current: Task | None = None
        self.steps = 0
        self.on_end: Callable[[Task], None] = lambda task: None

    def start(self, task: Task) -> Task:
        """It runs when it is stepped."""
        self.tasks.append(task)
        return task

    def ready(self) -> list[Task]:
        """Those that can go on now."""
        now = self._clock()
        return [t for t in self.tasks if t not in self.waiting and (t.wakes is None or t.wakes <= now) and t.is_ready()]

    def step(self, task: Task) -> None:
        """Lets it run to its next statement, its end, or until it waits for a lock."""
        if task.worker is None:
            task.worker = idle_worker()
            task.worker.begin(lambda: self._run(task))
        self.steps += 1
        self.current, task.wakes, task.stepped = task, None, self._clock()
        task.worker.go()
        try:
            if not self._came_back_or_blocks(task):
                self.waiting.append(task)
            elif task.ended:
                self._end(task)
        finally:
            self.current = None
        self.settle()
        # A crash takes the whole process with it.
        for other in [t for t in self.tasks if t.killed]:
            if other in self.tasks:
                self.kill(other)

    def pause(self, task: Task) -> None:
        """Called by the task itself; raises Crash if it was killed meanwhile."""
        assert task.worker is not None
        task.worker.pause()
        if task.killed:
            raise Crash

    def kill(self, task: Task) -> None:
        """Ends a task where it stands, with its transaction. It must not be the one that runs."""
        task.killed = True
        if task.worker is None:
            task.error, task.ended = Crash(), True
            self._end(task)
            return
        if task in self.waiting:
            self.give_up_waiting(task)
        self.step(task)

    def give_up_waiting(self, task: Task) -> None:
        """Cancel its statement, as PostgreSQL does if a lock is not given in time; it is ready then."""
        assert task.worker is not None
        backend = task.backend
        if backend is not None:
            self._watch.cancel(backend)
        if not task.worker.came_back(_STUCK_SECONDS):
            raise Stuck(f"{task.name} did not come back from a cancelled statement\n{self.stacks()}")
        self.waiting.remove(task)
        self.settle()

    def close(self) -> None:
        """Ends what is left, with no word to anyone."""
        self.on_end = lambda task: None
        while self.tasks:
            self.tasks[0].on_end = lambda task: None
            self.kill(self.tasks[0])

    def stacks(self) -> str:
        """What each thread is doing, for whoever looks for why nothing goes on."""
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way to them
        told = []
        for task in self.tasks:
            ident = task.worker and task.worker.thread.ident
            stack = traceback.format_stack(frames[ident])[-6:] if ident in frames else []
            told.append(f"{task.name}, backend {task.backend}, blocked: {task in self.waiting}\n{''.join(stack)}")
        return "\n".join(told)

    def _came_back_or_blocks(self, task: Task) -> bool:
        """True if it is back, False if it waits for a lock."""
        assert task.worker is not None
        deadline, patience = time.monotonic() + _STUCK_SECONDS, _LOOK_AFTER
        while not task.worker.came_back(patience):
            backend, patience = task.backend, _LOOK_AGAIN
            if backend is not None and self._watch.waits([backend]) and self._is_stopped(task, backend):
                return False
            if time.monotonic() > deadline:
                raise Stuck(f"{task.name} does not come back\n{self.stacks()}")
        return True

    def _is_stopped(self, task: Task, backend: int) -> bool:
        """Stop a backend that waits; False if it does so no more."""
        self._watch.stop(backend)
        if self._watch.waits([backend]) and task.block(self._clock()):
            return True
        self._watch.let_go(backend)
        return False

    def settle(self) -> None:
        """Let those go on whose locks were given, one after the other, to the end of their statements.

        To be called by who has the baton, whenever locks were freed.
        """
        while self.waiting:
            waits = self._watch.waits([t.backend for t in self.waiting if t.backend is not None])
            freed = [t for t in self.waiting if t.backend not in waits]
            if not freed:
                if _has_circle(waits):
                    self._let_postgres_choose()
                return
            if (backend := freed[0].backend) is not None:
                self._watch.let_go(backend)
            if self._came_back_or_blocks(freed[0]):
                self.waiting.remove(freed[0])

    def _let_postgres_choose(self) -> None:
        """Some wait for each other: it ends one of them."""
        for task in self.waiting:
            assert task.backend is not None
            self._watch.let_go(task.backend)
        deadline = time.monotonic() + _STUCK_SECONDS
        while time.monotonic() < deadline:
            for task in self.waiting:
                assert task.worker is not None
                if task.worker.came_back(_LOOK_AGAIN):
                    self.waiting.remove(task)
                    return
        raise Stuck(f"PostgreSQL ends no deadlock\n{self.stacks()}")

    def _run(self, task: Task) -> None:
        be(task)
        try:
            if not task.killed:
                task.outcome = task.body()
        except BaseException as error:
            task.error = error
        be(None)
        task.ended = True

    def _end(self, task: Task) -> None:
        self.tasks.remove(task)
        if task.worker is not None:
            keep_worker(task.worker)
            task.worker = None
        task.on_end(task)
        self.on_end(task)


def _has_circle(waits: Mapping[int, Collection[int]]) -> bool:
    """Whether some wait for each other: PostgreSQL is about to end one of them."""
    left = set(waits)
    while free := {b for b in left if not left & set(waits[b])}:
        left -= free
    return bool(left)
