"""The instances of the functions: each with its own pool, clock, memory and heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from shared.bootstrap import App
from shared.pipeline.heartbeat import Heartbeat
from shared.pipeline.refresh import Refresh
from tests.simulation.real.clocks import ProcessClock
from tests.simulation.real.sessions import SimulatedDatabase
from tests.simulation.world import Process as FastProcess


class Beating(threading.Thread):
    """In place of the thread of what is periodic: it counts as alive, and the scheduler does what it would do."""

    def is_alive(self) -> bool:
        return True


class SteppedHeartbeat(Heartbeat):
    """The real one, but for its thread: the scheduler calls `beat`."""

    def __post_init__(self) -> None:
        self._thread = Beating()

    @property
    def holds(self) -> bool:
        return bool(self._held)


class SteppedRefresh(Refresh):
    """As above."""

    def __post_init__(self) -> None:
        self._thread = Beating()


class Process(FastProcess):
    """`frozen` is until when it gets no processor, `next_beat` when its heartbeat is due."""

    def __init__(
        self, name: str, database: SimulatedDatabase, clock: ProcessClock, start_app: Callable[[FastProcess], App]
    ) -> None:
        self.database, self.clock = database, clock
        self.frozen: datetime | None = None
        self.next_beat: datetime | None = None
        super().__init__(name, start_app)

    def beat(self) -> None:
        self.app.heartbeat.beat()

    def refresh(self) -> None:
        self.app.refresh.beat()

    @property
    def holds_leases(self) -> bool:
        heartbeat = self.app.heartbeat
        return isinstance(heartbeat, SteppedHeartbeat) and heartbeat.holds


class Outsider:
    """Who has nothing to do with the functions, and a session of their own: who migrates, say."""

    name, frozen = "outsider", None

    def restart(self) -> None:
        """Whoever crashes there does not come again."""
