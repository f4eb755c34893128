"""Renews the leases of attempts under way, so that leases can be short and a dead process's work is free soon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from shared.domain.stages import HEARTBEAT_SECONDS, Stage
from shared.ports import Clock, JobStore

log = structlog.get_logger()


@dataclass(kw_only=True)
class Heartbeat:
    """One thread for all leases of the process; it lives while there are any.

    An attempt that takes longer than its stage may is not renewed any more: another may take over.
    """

    store: JobStore
    clock: Clock
    seconds: float = HEARTBEAT_SECONDS
    _held: dict[UUID, datetime] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: UUID, stage: Stage) -> Iterator[None]:
        with self._changed:
            self._held[lease] = self.clock() + timedelta(seconds=stage.timeout_seconds)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                del self._held[lease]
                self._changed.notify()

    def beat(self) -> None:
        """Renews what is held. A beat that fails is made up for by the next: three fit into a lease."""
        now = self.clock()
        with self._changed:
            leases = [lease for lease, end in self._held.items() if now < end]
        if not leases:
            return
        try:
            self.store.renew(leases, now)
        except Exception as error:
            # Whatever it was: the thread must live, or no lease of this process is renewed again.
            log.warning("heartbeat.missed", leases=len(leases), error_class=type(error).__name__)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=self.seconds)
                if not self._held:
                    self._thread = None
                    return
            self.beat()
