"""The transactional outbox: the rows of jobs that a commit made. A publish that is lost is found and repeated."""

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
        """Send the messages of these jobs and note it. Raises Unavailable; the rows stay, for `reconcile`."""
        if not due:
            return
        self.send(due)
        self.store.mark_published([job.job_id for job in due], self.clock())

    def send(self, due: Sequence[Job]) -> None:
        """Send the messages and note nothing. Raises Unavailable."""
        self.publisher.publish([Message(topic=job.type, data=job.message) for job in due])

    def publish_soon(self, due: Sequence[Job]) -> bool:
        """Publish now, or leave it to `reconcile`; return whether it was published."""
        try:
            self.publish(due)
        except Unavailable as error:
            log.warning("publish.unavailable", jobs=len(due), error=str(error))
            return False
        return True

    def announce_failure(self, job: Job, failure: Failure) -> None:
        """Publish a recorded failure to the dead-letter topic. Losing this message loses nothing."""
        message = Message(
            topic=JobType.DEAD_LETTER,
            data=job.message,
            attributes={"type": job.type, "fingerprint": failure.fingerprint, "recorded": "true"},
        )
        try:
            self.publisher.publish([message])
        except Unavailable as error:
            log.warning("dead_letter.unannounced", job_id=job.job_id, error=str(error))
