"""Gives dead letters another chance, at a bounded rate, and ends those that are not worth one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.dead_letters import DeadLetterFilter, Redrive, RedriveRequest
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, DeadLetters

log = structlog.get_logger()

# The first that are sent at once: the others follow with `reconcile`, in slices of the rate that was asked for.
MAX_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class RedriveDeadLetters:
    letters: DeadLetters
    outbox: Outbox
    projector: Projector
    clock: Clock
    new_id: Callable[[], UUID]

    def redrive(self, request: RedriveRequest) -> Redrive:
        """Writes down who wants what, and sends those whose turn it is. Raises Unavailable."""
        redrive = self.letters.redrive(request, self.new_id(), self.clock())
        log.info("redrive.requested", accepted=len(redrive.accepted), refused=len(redrive.refused))
        self.release(MAX_AT_ONCE)
        return redrive

    def release(self, limit: int) -> int:
        """Sends the redrives whose turn has come, and returns how many jobs that began. Raises Unavailable."""
        begun = self.letters.release(self.clock(), limit)
        if begun:
            self.projector.project_changes(begun)
            self.outbox.publish_soon(begun)
        return len(begun)

    def stop(self, owner_uid: str | None, batch_id: UUID, requested_by: str) -> int:
        """Sends no more of a batch, and returns how many that were. Raises Unavailable."""
        who = "an administrator" if owner_uid is None else "its owner"
        stopped = self.letters.stop(owner_uid, batch_id, f"{who} stopped the redrive", self.clock())
        log.info("redrive.stopped", batch_id=str(batch_id), requested_by=requested_by, letters=stopped)
        return stopped

    def discard(self, letters: DeadLetterFilter, requested_by: str, reason: str) -> int:
        """Gives up on open letters, and returns how many. Raises Unavailable."""
        discarded = self.letters.discard(letters, requested_by, reason, self.new_id(), self.clock())
        log.info("redrive.discarded", letters=discarded)
        return discarded
