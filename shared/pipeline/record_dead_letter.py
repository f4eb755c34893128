"""Records jobs whose deliveries are exhausted, so that nothing is lost without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from shared.domain.errors import DeliveriesExhausted
from shared.domain.failures import describe
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, JobStore, Telemetry
from shared.ports.metrics import JOBS

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class RecordDeadLetter:
    store: JobStore
    outbox: Outbox
    projector: Projector
    clock: Clock
    telemetry: Telemetry

    def __call__(self, job_id: str, attributes: Mapping[str, str]) -> None:
        """End the job that the message named, unless its failure is on record already. Raises Unavailable."""
        if attributes.get("recorded") == "true":
            return
        source = attributes.get("CloudPubSubDeadLetterSourceSubscription", "unknown subscription")
        deliveries = attributes.get("CloudPubSubDeadLetterSourceDeliveryCount", "?")
        failure = describe(DeliveriesExhausted(f"{source}: no answer after {deliveries} deliveries"))
        log.error("dead_letter.recorded", job_id=job_id, source=source)
        ended = self.store.fail_undelivered(job_id, failure, self.clock())
        if ended:
            self.telemetry.record(JOBS, 1, {"stage": ended.job.type, "outcome": "failed"})
            self.outbox.publish({ended.job.type, *(j.type for j in ended.due)})
            self.projector.project(ended.job, ended.change)
            if ended.announced:
                self.outbox.wake_notify()
