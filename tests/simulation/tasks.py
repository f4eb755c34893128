"""Threads of which exactly one runs at a time: a baton goes from the scheduler to a task and back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_STUCK_SECONDS = 60.0


class Crash(BaseException):
    """The process is gone: nothing of this task runs any more."""


class Stuck(Exception):
    """A task waits for something that another task holds, or threads run that the scheduler does not know."""


class Worker:
    """A thread that runs one body after the other, each only while it has the baton."""

    def __init__(self) -> None:
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._body: Callable[[], None] | None = None
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def begin(self, body: Callable[[], None]) -> None:
        self._body = body

    def resume(self) -> None:
        """Runs the body until it pauses or ends. Called by the scheduler."""
        self.go()
        if not self.came_back(_STUCK_SECONDS):
            raise Stuck("a task did not come back: does something hold a lock over the call of a port?")

    def go(self) -> None:
        """Hands the baton over. Called by the scheduler, which then waits until it `came_back`."""
        self._go.release()

    def came_back(self, seconds: float) -> bool:
        """Whether the baton is back within that time."""
        return self._back.acquire(timeout=seconds)

    def pause(self) -> None:
        """Gives the baton back and waits for it. Called by the body."""
        self._back.release()
        self._go.acquire()

    def _loop(self) -> None:
        while True:
            self._go.acquire()
            assert self._body is not None
            self._body()
            self._back.release()


_idle: list[Worker] = []


def idle_worker() -> Worker:
    """One that has nothing to do."""
    return _idle.pop() if _idle else Worker()


def keep_worker(worker: Worker) -> None:
    """For the next task: a thread costs more than a task does."""
    _idle.append(worker)


@dataclass(eq=False)
class Task:
    """`notes` is what others keep about it, `outcome` is what its body returned, `error` what it raised."""

    name: str
    body: Callable[[], Any]
    process: Any
    job_id: str | None = None
    on_end: Callable[[Task], None] = lambda task: None
    worker: Worker | None = None
    killed: bool = False
    ended: bool = False
    outcome: Any = None
    error: BaseException | None = None
    wakes: int = 0
    lease_until: datetime | None = None
    highest: datetime | None = None  # that the clock showed since
    notes: dict[str, Any] = field(default_factory=dict)


class Scheduler:
    """The tasks under way, and which of them has the baton."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.steps = 0
        self.on_end: Callable[[Task], None] = lambda task: None

    def start(self, task: Task) -> Task:
        """It runs when it is stepped."""
        self.tasks.append(task)
        return task

    def step(self, task: Task) -> None:
        """Lets it run to its next pause, or its end."""
        if task.worker is None:
            task.worker = idle_worker()
            task.worker.begin(lambda: self._run(task))
        self.steps += 1
        self.current = task
        try:
            task.worker.resume()
        finally:
            self.current = None
        if task.ended:
            self._end(task)
        # A crash takes the whole process with it.
        for other in [t for t in self.tasks if t.killed]:
            if other in self.tasks:
                self.kill(other)

    def step_any(self) -> None:
        """A task that sleeps is left alone for so many steps, unless there is no other."""
        awake = [t for t in self.tasks if t.wakes <= self.steps]
        self.step(self._rng.choice(awake or self.tasks))

    def pause(self, task: Task) -> None:
        """Called by the task itself; raises Crash if it was killed meanwhile."""
        assert task.worker is not None
        task.worker.pause()
        self.check(task)

    def check(self, task: Task) -> None:
        """Raises Crash if the task is dead, and Stuck if some other thread calls a port meanwhile."""
        if task.killed:
            raise Crash
        if task.worker is None or task.worker.thread is not threading.current_thread():
            raise Stuck("a thread that the scheduler does not know calls a port")

    def kill(self, task: Task) -> None:
        """Ends a task where it stands. It must not be the one that runs."""
        task.killed = True
        if task.worker is None:
            task.error, task.ended = Crash(), True
            self._end(task)
        else:
            self.step(task)

    def close(self) -> None:
        """Ends what is left, with no word to anyone."""
        self.on_end = lambda task: None
        while self.tasks:
            self.tasks[0].on_end = lambda task: None
            self.kill(self.tasks[0])

    def _run(self, task: Task) -> None:
        try:
            if not task.killed:
                task.outcome = task.body()
        except BaseException as error:
            task.error = error
        task.ended = True

    def _end(self, task: Task) -> None:
        self.tasks.remove(task)
        if task.worker is not None:
            keep_worker(task.worker)
            task.worker = None
        task.on_end(task)
        self.on_end(task)
