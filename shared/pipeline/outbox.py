"""Publishes jobs that a commit made: their rows are the outbox, so that a lost publish is found and repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from shared.domain.errors import Unavailable
from shared.domain.failures import Failure
from shared.domain.jobs import Job
from shared.domain.stages import JobType
from shared.ports import Clock, JobStore, Message, Publisher

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Outbox:
    store: JobStore
    publisher: Publisher
    clock: Clock

    def publish(self, due: Sequence[Job]) -> None:
        """Raises Unavailable if the broker can't be reached; the rows stay, for `reconcile`."""
        if not due:
            return
        self.send(due)
        self.store.mark_published([job.job_id for job in due], self.clock())

    def send(self, due: Sequence[Job]) -> None:
        """Sends the messages and notes nothing. Raises Unavailable."""
        self.publisher.publish([Message(topic=job.type, data=job.message) for job in due])

    def publish_soon(self, due: Sequence[Job]) -> bool:
        """Publishes now, or leaves it to `reconcile`: whether it was now."""
        try:
            self.publish(due)
        except Unavailable as error:
            log.warning("publish.unavailable", jobs=len(due), error=str(error))
            return False
        return True

    def announce_failure(self, job: Job, failure: Failure) -> None:
        """Tells the dead-letter topic of a failure that is on record already: losing this loses nothing."""
        message = Message(
            topic=JobType.DEAD_LETTER,
            data=job.message,
            attributes={"type": job.type, "fingerprint": failure.fingerprint, "recorded": "true"},
        )
        try:
            self.publisher.publish([message])
        except Unavailable as error:
            log.warning("dead_letter.unannounced", job_id=job.job_id, error=str(error))
