"""Redrives dead letters at a bounded rate, and discards others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.dead_letters import DeadLetterFilter, Redrive, RedriveRequest
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, DeadLetters, Redrives

log = structlog.get_logger()

# The first that are sent at once: the others follow with `reconcile`, in slices of the rate that was asked for.
MAX_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class RedriveDeadLetters:
    """All raise Unavailable."""

    dead_letters: DeadLetters
    redrives: Redrives
    outbox: Outbox
    projector: Projector
    clock: Clock
    new_id: Callable[[], UUID]

    def redrive(self, request: RedriveRequest) -> Redrive:
        """Queue the dead letters that were chosen, and send those that are due."""
        redrive = self.redrives.add(request, self.new_id(), self.clock())
        log.info("redrive.requested", accepted=len(redrive.accepted), refused=len(redrive.refused))
        self.release(MAX_AT_ONCE)
        return redrive

    def mend(self, limit: int) -> int:
        """Queue what failed since a service was away, without being asked, and send what is due."""
        queued = self.redrives.add_passing(self.new_id(), self.clock(), limit)
        if queued:
            log.info("redrive.passing", dead_letters=queued)
        return self.release(limit)

    def release(self, limit: int) -> int:
        """Send the redrives that are due, and return how many jobs that began."""
        begun = self.redrives.release(self.clock(), limit)
        if begun:
            self.projector.project_changes(begun)
            self.outbox.publish()
        return len(begun)

    def stop(self, owner_uid: str | None, batch_id: UUID, requested_by: str) -> int:
        """Send no more of a batch, and return how many that were."""
        who = "an administrator" if owner_uid is None else "its owner"
        stopped = self.redrives.stop(owner_uid, batch_id, f"{who} stopped the redrive", self.clock())
        log.info("redrive.stopped", batch_id=str(batch_id), requested_by=requested_by, dead_letters=stopped)
        return stopped

    def discard(self, chosen: DeadLetterFilter, requested_by: str, reason: str) -> int:
        """Discard the open ones among those chosen, and return how many; their books say so."""
        discarded = self.dead_letters.discard(chosen, requested_by, reason, self.new_id(), self.clock())
        log.info("redrive.discarded", dead_letters=discarded.dead_letters)
        self.projector.project_changes(discarded.jobs)
        return discarded.dead_letters
