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
from shared.ports import Clock, Leases

log = structlog.get_logger()


@dataclass(kw_only=True)
class Heartbeat:
    """One thread for all leases of the process; it lives while there are any.

    An attempt that takes longer than its stage may is not renewed any more: another may take over.
    """

    leases: Leases
    clock: Clock
    seconds: float = HEARTBEAT_SECONDS
    _held: dict[UUID, datetime] = field(default_factory=dict, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    @contextmanager
    def hold(self, fencing_token: UUID, stage: Stage) -> Iterator[None]:
        """Renew the lease of this token until the end of the block, or of the stage's timeout."""
        with self._changed:
            self._held[fencing_token] = self.clock() + timedelta(seconds=stage.timeout_seconds)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                del self._held[fencing_token]
                self._changed.notify()

    def beat(self) -> None:
        """Renew what is held. A beat that fails is made up for by the next: three fit into a lease."""
        now = self.clock()
        with self._changed:
            tokens = [token for token, end in self._held.items() if now < end]
        if not tokens:
            return
        try:
            self.leases.renew(tokens)
        except Exception as error:
            # Whatever it was: the thread must live, or no lease of this process is renewed again.
            log.warning("heartbeat.missed", leases=len(tokens), error_class=type(error).__name__)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=self.seconds)
                if not self._held:
                    self._thread = None
                    return
            self.beat()
