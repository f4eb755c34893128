"""One message through one stage: claim, work, commit, project, publish, acknowledge.

A crash anywhere repeats the stage and changes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import structlog

from shared.domain.errors import LeaseLost, Rejected, Unavailable
from shared.domain.failures import Failure, describe
from shared.domain.jobs import Job
from shared.domain.results import Result
from shared.domain.stages import MAX_LEASE_EXPIRATIONS, STAGES, JobType, backoff_seconds
from shared.pipeline.heartbeat import Heartbeat
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Claim, ClaimState, Clock, ConcurrencyLimiter, JobStore

log = structlog.get_logger()

StageFunction = Callable[[Job], Result]


class Outcome(Enum):
    """What to tell the broker."""

    ACKNOWLEDGE = "acknowledge"
    REDELIVER = "redeliver"


class Abandoned(Exception):
    """The process died, or its lease ran out, so often that the job is to blame."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs stages. `random` gives numbers in [0, 1); `limiter` has the places of stages with a strict cap."""

    store: JobStore
    outbox: Outbox
    projector: Projector
    limiter: ConcurrencyLimiter
    heartbeat: Heartbeat
    stages: Mapping[JobType, StageFunction]
    clock: Clock
    random: Callable[[], float]

    def run(self, job_id: str, job_type: JobType) -> Outcome:
        """Takes a delivery of this job's message. Raises only if even the claim could not be made."""
        stage = STAGES[job_type]
        if not stage.strict:
            return self._run(job_id)
        with self.limiter.acquire(stage) as is_free:
            # Waiting for a place is no attempt: the job is not even claimed.
            return self._run(job_id) if is_free else Outcome.REDELIVER

    def _run(self, job_id: str) -> Outcome:
        claim = self.store.claim(job_id, self.clock())
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=claim.attempt):
            log.info("stage.claim", state=claim.state)
            match claim.state:
                case ClaimState.BUSY:
                    return Outcome.REDELIVER
                case ClaimState.STALE:
                    return Outcome.ACKNOWLEDGE
                case ClaimState.DONE:
                    return self._publish(self.store.children(job_id))
                case ClaimState.CLAIMED:
                    return self._attempt(claim)

    def _attempt(self, claim: Claim) -> Outcome:
        job, lease = claim.job, claim.lease
        assert job is not None
        assert lease is not None
        if claim.exhausted:
            return self._fail(claim, job, Abandoned(f"its process died {MAX_LEASE_EXPIRATIONS} times"))
        try:
            with self.heartbeat.hold(lease, job.stage):
                # A slow store of live documents must not cost the lease.
                self.projector.project(job)
                result = self.stages[job.type](job)
                due = self.store.commit(claim, result, self.clock())
        except LeaseLost:
            log.warning("stage.lease_lost")
            return Outcome.REDELIVER
        except Rejected as error:
            return self._fail(claim, job, error)
        except Exception as error:
            return self._retry(claim, job, error)
        log.info("stage.done", due=len(due))
        self.projector.project(job)
        return self._publish(due)

    def _retry(self, claim: Claim, job: Job, error: Exception) -> Outcome:
        if claim.attempt >= job.stage.attempts:
            return self._fail(claim, job, error)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        seconds = backoff_seconds(job.stage, claim.attempt, self.random(), asked)
        now = self.clock()
        failure = describe(error)
        said = {"error": str(error)} if isinstance(error, Unavailable) else {}
        log.warning("stage.retry", **_about(failure), **said, seconds=round(seconds, 1))
        try:
            self.store.schedule_retry(claim, failure, now + timedelta(seconds=seconds), now)
        except LeaseLost:
            return Outcome.REDELIVER
        self.projector.project(job)
        return Outcome.REDELIVER

    def _fail(self, claim: Claim, job: Job, error: Exception) -> Outcome:
        failure = describe(error)
        log.error("stage.failed", **_about(failure))
        try:
            due = self.store.fail(claim, failure, self.clock())
        except LeaseLost:
            return Outcome.REDELIVER
        self.projector.project(job)
        self.outbox.announce_failure(job, failure)
        return self._publish(due)

    def _publish(self, due: list[Job]) -> Outcome:
        try:
            self.outbox.publish(due)
        except Unavailable as error:
            # The redelivery finds the job done and publishes these again.
            log.warning("publish.unavailable", error=str(error), jobs=len(due))
            return Outcome.REDELIVER
        return Outcome.ACKNOWLEDGE


def _about(failure: Failure) -> dict[str, str]:
    """No message and no traceback: they are on record, where only those may read them who may read the book."""
    return {"error_class": failure.error_class, "fingerprint": failure.fingerprint, "place": failure.place}
