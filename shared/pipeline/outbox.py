"""The transactional outbox: rows of jobs, which are published when there is a permit for them.

A message that is lost is found by `reconcile`, and sent again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.errors import NotPublished, Unavailable
from shared.domain.failures import Failure
from shared.domain.jobs import Job
from shared.domain.stages import JOB_TYPES, JobType
from shared.domain.trace_context import TRACEPARENT
from shared.ports import Clock, JobStore, Message, Publisher, Telemetry

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Outbox:
    store: JobStore
    publisher: Publisher
    clock: Clock
    telemetry: Telemetry

    def publish(self, types: Collection[JobType] = JOB_TYPES) -> bool:
        """Publish the jobs of these stages whose turn it is, as many as there are permits.

        Returns False if something could not be published: that is left to `reconcile`.
        """
        try:
            with self.telemetry.span("publish", kind="producer"):
                self.send(self.store.give_permits(types, self.clock()))
        except Unavailable as error:
            log.warning("publish.unavailable", error=str(error))
            return False
        return True

    def note_queue(self, book_id: UUID) -> None:
        """Note where the book stands if it waits for its turn; or leave that to `reconcile`."""
        try:
            self.store.note_queue(book_id)
        except Unavailable as error:
            log.warning("queue.unavailable", book_id=str(book_id), error=str(error))

    def send(self, jobs: Sequence[Job]) -> None:
        """Send the messages of jobs that hold permits, and note those that were. Raises Unavailable in the end.

        Topic by topic: one that fails keeps no other from being served.
        """
        failure: Unavailable | None = None
        for topic in dict.fromkeys(job.type for job in jobs):
            same = [job for job in jobs if job.type == topic]
            try:
                self.repeat(same)
                sent = same
            except NotPublished as error:
                sent, failure = [job for n, job in enumerate(same) if n not in error.indexes], error
            except Unavailable as error:
                sent, failure = [], error
            if sent:
                self.store.mark_published([job.job_id for job in sent], self.clock())
        if failure:
            raise failure

    def repeat(self, jobs: Sequence[Job]) -> None:
        """Send the messages of these jobs and note nothing. Raises Unavailable, NotPublished."""
        if jobs:
            self.publisher.publish(
                [Message(topic=job.type, data=job.message, attributes=_trace_of(job)) for job in jobs]
            )

    def wake_notify(self) -> None:
        """Have what is due sent to webhooks. Losing this message loses nothing: `reconcile` sends another."""
        try:
            self.publisher.publish([Message(topic=JobType.NOTIFICATIONS, data={"job_id": JobType.NOTIFICATIONS})])
        except Unavailable as error:
            log.warning("notify.unavailable", error=str(error))

    def announce_failure(self, job: Job, failure: Failure) -> None:
        """Publish a recorded failure to the dead-letter topic. Losing this message loses nothing."""
        message = Message(
            topic=JobType.DEAD_LETTER,
            data=job.message,
            attributes={"type": job.type, "fingerprint": failure.fingerprint, "recorded": "true", **_trace_of(job)},
        )
        try:
            self.publisher.publish([message])
        except Unavailable as error:
            log.warning("dead_letter.unannounced", job_id=job.job_id, error=str(error))


def _trace_of(job: Job) -> dict[str, str]:
    """The job's own trace, whoever's permit it was given."""
    return {TRACEPARENT: job.trace_context} if job.trace_context else {}
