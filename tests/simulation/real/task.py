"""A task of a simulated process, and the thread that runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.simulation.tasks import Worker

_running = threading.local()


def this_task() -> Task | None:
    """The task whose thread this is; None for threads of the pool, and outside of a simulation."""
    return getattr(_running, "task", None)


def be(task: Task | None) -> None:
    """Let this thread be that task's from now on."""
    _running.task = task


@dataclass(eq=False)
class Task:
    """`wakes` is until when it stands still, `is_ready` what else it waits for; `backend` runs its statement,
    `stepped` is when it went on last.

    `notes` is what others keep about it, `outcome` is what its body returned, `error` what it raised.
    """

    name: str
    body: Callable[[], Any]
    process: Any
    edge: Any
    topic: str = ""
    job_id: str | None = None
    on_end: Callable[[Task], None] = lambda task: None
    is_ready: Callable[[], bool] = lambda: True
    wakes: datetime | None = None
    worker: Worker | None = None
    killed: bool = False
    ended: bool = False
    outcome: Any = None
    error: BaseException | None = None
    backend: int | None = None
    blocked_since: datetime | None = None
    stepped: datetime | None = None
    connection: Any = None
    notes: dict[str, Any] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def begin_statement(self, backend: int) -> None:
        with self._mutex:
            self.backend = backend

    def end_statement(self) -> bool:
        """Whether the baton was given away meanwhile."""
        with self._mutex:
            was_blocked, self.backend, self.blocked_since = self.blocked_since is not None, None, None
            return was_blocked

    def block(self, now: datetime) -> bool:
        """Note that it waits for a lock; False if its statement is done after all."""
        with self._mutex:
            if self.backend is None:
                return False
            self.blocked_since = self.blocked_since or now
            return True
