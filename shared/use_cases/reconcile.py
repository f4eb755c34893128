"""Finds work that stalled and publishes it again, so that losing every message loses nothing; and cleans up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from shared.domain.errors import Unavailable
from shared.domain.stages import JOB_TYPES
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, Gauges, JobStore, Retention, Telemetry, WebhookDeliveries
from shared.use_cases.redrive import RedriveDeadLetters
from shared.use_cases.reembed import Reembed
from shared.use_cases.restore import Restore

log = structlog.get_logger()

# A run is bounded: what is left over is found by the next one, a minute later.
MAX_REDRIVEN = 500
MAX_BOOKS = 200
MAX_DOCUMENTS = 1000
MAX_DROPPED = 1000


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    published: int
    redriven: int
    reembedded: int
    projected: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    store: JobStore
    outbox: Outbox
    projector: Projector
    redrive: RedriveDeadLetters
    reembed: Reembed
    retention: Retention
    restore: Restore
    deliveries: WebhookDeliveries
    gauges: Gauges
    telemetry: Telemetry
    clock: Clock

    def __call__(self) -> Reconciled:
        """Do all that is due each minute. Safe to run twice at once; one service's failure does not hold up the rest.

        Raises Unavailable in the end if something could not be done.
        """
        failures: list[Unavailable] = []
        redriven = self.redrive.mend(MAX_REDRIVEN)
        self._advance()
        waiting = [*self.store.stalled(self.clock()), *self.store.give_permits(JOB_TYPES, self.clock())]
        try:
            self.outbox.send(waiting)
        except Unavailable as error:
            failures.append(error)
        if self.deliveries.due(self.clock(), 1):
            self.outbox.wake_notify()
        reembedded = self._reembed(failures)
        dropped = self.retention.drop(self.clock(), MAX_DROPPED)
        projected = self.project(failures)
        self._measure(failures)
        counts = {"published": len(waiting), "redriven": redriven, "reembedded": reembedded, "projected": projected}
        log.info("reconcile.done", **counts, **dropped)
        if failures:
            raise failures[0]
        return Reconciled(**counts, dropped=dropped)

    def _advance(self) -> None:
        """Go on with books that stand still, and say for what they wait, or where in the queue they are."""
        self.store.note_queue()
        for version in self.store.advance_still_books(self.clock(), MAX_BOOKS):
            self.projector.project_book(version.book_id)

    def _reembed(self, failures: list[Unavailable]) -> int:
        try:
            return self.reembed.next()
        except Unavailable as error:
            failures.append(error)
            return 0

    def _measure(self, failures: list[Unavailable]) -> None:
        """Once a minute, by whoever this is: instances come and go, and the database is one."""
        try:
            if self.telemetry.sends:
                self.gauges.record(self.clock())
        except Unavailable as error:
            failures.append(error)

    def project(self, failures: list[Unavailable]) -> int:
        """Write the live documents that lag, delete again those that may have been written late, and after a restore
        those that are of before. Return how many were written."""
        written = 0
        try:
            written = self.projector.project_lagging(MAX_DOCUMENTS)
            self.restore.delete_left_over(MAX_DOCUMENTS)
            self.restore.refuse_going_back()
        except Unavailable as error:
            failures.append(error)
        return written
