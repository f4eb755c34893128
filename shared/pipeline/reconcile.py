"""Finds work that nobody will do, and sends its message again. Losing every message loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, JobStore, Projections

log = structlog.get_logger()

# A run is bounded: what is left over is found by the next one, a minute later.
MAX_JOBS = 500
MAX_BOOKS = 100


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    published: int
    projected: int


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    store: JobStore
    projections: Projections
    outbox: Outbox
    projector: Projector
    clock: Clock

    def __call__(self) -> Reconciled:
        """Safe to run twice at once. Raises Unavailable."""
        stalled = self.store.stalled(self.clock(), MAX_JOBS)
        self.outbox.publish(stalled)
        lagging = self.projections.lagging(self.clock(), MAX_BOOKS)
        for book_id in lagging:
            self.projector.project_book(book_id)
        log.info("reconcile.done", published=len(stalled), projected=len(lagging))
        return Reconciled(published=len(stalled), projected=len(lagging))
