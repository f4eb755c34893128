"""One message through one stage: claim, work, commit, publish, project, acknowledge.

A crash anywhere repeats the stage and changes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

import structlog

from shared.domain.errors import LeaseLost, ModelUnavailable, Rejected, Unavailable
from shared.domain.failures import Failure, describe, stack_of
from shared.domain.jobs import Job
from shared.domain.stages import (
    MAX_LEASE_EXPIRATIONS,
    MAX_RETRY_AFTER_SECONDS,
    JobType,
    backoff_seconds,
    wait_seconds,
)
from shared.pipeline.heartbeat import Heartbeat
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.pipeline.refresh import Refresh
from shared.pipeline.stages import StageFunction
from shared.ports import Claim, Claimed, Clock, Ended, JobStore, NotClaimed, Outage, Telemetry
from shared.ports.metrics import ATTEMPT_SECONDS, JOBS
from shared.ports.telemetry import ERROR

log = structlog.get_logger()


class Outcome(Enum):
    """What to tell the broker."""

    ACKNOWLEDGE = "acknowledge"
    REDELIVER = "redeliver"


class LeaseExpired(Exception):
    """The job's process died, or did not renew its lease, MAX_LEASE_EXPIRATIONS times."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs stages. `random` gives numbers in [0, 1); `patience` is how long a job waits for a service that is away."""

    store: JobStore
    outbox: Outbox
    projector: Projector
    heartbeat: Heartbeat
    refresh: Refresh
    stages: Mapping[JobType, StageFunction]
    clock: Clock
    patience: timedelta
    random: Callable[[], float]
    telemetry: Telemetry

    def run(self, job_id: str) -> Outcome:
        """Run one delivery of this job's message. Raises only if even the claim could not be made."""
        with self.telemetry.span("claim"):
            claim = self.store.claim(job_id, self.clock())
        ids = _ids(claim)
        self.telemetry.note({"job_id": job_id, **ids})
        with structlog.contextvars.bound_contextvars(job_id=job_id, **ids):
            log.info("stage.claim", state=claim if isinstance(claim, NotClaimed) else "claimed")
            match claim:
                case Claimed():
                    return self._attempt(self._traced(claim))
                case NotClaimed.BUSY:
                    return Outcome.REDELIVER
                case NotClaimed.WAITING:
                    return Outcome.ACKNOWLEDGE
                case NotClaimed.PAUSED | NotClaimed.DONE | NotClaimed.STALE:
                    # Its stage may go on by now, or whoever ended it died before its permit went to the next.
                    self.outbox.publish()
                    return Outcome.ACKNOWLEDGE

    def _traced(self, claim: Claimed) -> Claimed:
        """What becomes due by it is a part of this attempt's trace."""
        here = self.telemetry.traceparent()
        return replace(claim, job=replace(claim.job, trace_context=here)) if here else claim

    def _attempt(self, claim: Claimed) -> Outcome:
        job = claim.job
        if claim.exhausted:
            return self._fail(claim, LeaseExpired(f"its lease expired {MAX_LEASE_EXPIRATIONS} times"))
        try:
            with self.heartbeat.hold(claim.fencing_token, job.stage), self.refresh.holding(job.book_id):
                # A slow store of live documents must not cost the lease.
                self.projector.project(job, claim.change)
                with self.telemetry.span("work"):
                    result = self.stages[job.type](claim)
                with self.telemetry.span("commit"):
                    ended = self.store.commit(claim, result, self.clock())
        except LeaseLost:
            log.warning("stage.lease_lost")
            self._record(claim, "lost")
            return Outcome.REDELIVER
        except Unavailable as error:
            return self._wait(claim, error)
        except Rejected as error:
            return self._fail(claim, error)
        except Exception as error:
            return self._retry(claim, error)
        log.info("stage.done", due=len(ended.due))
        self._record(claim, "completed")
        return self._publish_next(ended)

    def _retry(self, claim: Claimed, error: Exception) -> Outcome:
        stage = claim.job.stage
        if claim.attempt >= stage.attempts:
            return self._fail(claim, error)
        seconds = backoff_seconds(stage, claim.attempt, self.random())
        now = self.clock()
        failure = describe(error)
        log.warning("stage.retry", **_about(failure), seconds=round(seconds, 1))
        try:
            ended = self.store.schedule_retry(claim, failure, now + timedelta(seconds=seconds), now)
        except LeaseLost:
            return Outcome.REDELIVER
        self._record(claim, "retrying", failure)
        self.projector.project(ended.job, ended.change)
        return Outcome.REDELIVER

    def _wait(self, claim: Claimed, error: Unavailable) -> Outcome:
        """Try again later: a service was away, which is no attempt, and fails the job only after `patience`."""
        job, now = claim.job, self.clock()
        waited = now - (claim.unavailable_since or now)
        if waited > self.patience:
            return self._fail(claim, error)
        asked = min(error.retry_after or 0.0, MAX_RETRY_AFTER_SECONDS)
        seconds = max(asked, wait_seconds(job.stage, waited.total_seconds(), self.random()))
        model = job.stage.model if isinstance(error, ModelUnavailable) else None
        outage = Outage(model=model, until=now + timedelta(seconds=seconds), retry_after=asked, calls=error.calls)
        failure = describe(error)
        log.warning("stage.wait", **_about(failure), error=str(error), model=model)
        try:
            keeps_permit, ended = self.store.wait(claim, failure, outage, now)
        except LeaseLost:
            return Outcome.REDELIVER
        self._record(claim, "waiting", failure)
        if not keeps_permit:
            return self._publish_next(ended)
        self.projector.project(ended.job, ended.change)
        return self._publish_anew(ended.job)

    def _fail(self, claim: Claimed, error: Exception) -> Outcome:
        failure = describe(error)
        log.error("stage.failed", **_about(failure), stack_trace=stack_of(error))
        try:
            ended = self.store.fail(claim, failure, self.clock())
        except LeaseLost:
            return Outcome.REDELIVER
        self._record(claim, "failed", failure)
        self.outbox.announce_failure(claim.job, failure)
        return self._publish_next(ended)

    def _record(self, claim: Claimed, outcome: str, failure: Failure | None = None) -> None:
        """How the attempt ended; a job has ended, too, if it completed or failed."""
        labels = {"stage": str(claim.job.type), "outcome": outcome}
        self.telemetry.note({"outcome": outcome, **({ERROR: failure.error_class} if failure else {})})
        self.telemetry.record(ATTEMPT_SECONDS, (self.clock() - claim.began).total_seconds(), labels)
        if outcome in ("completed", "failed"):
            self.telemetry.record(JOBS, 1, labels)

    def _publish_next(self, ended: Ended) -> Outcome:
        """Publish what waits for the job's permit, and what it made due; project what it has changed."""
        self.outbox.publish({ended.job.type, *(j.type for j in ended.due)})
        self.projector.project(ended.job, ended.change)
        if ended.announced:
            self.outbox.wake_notify()
        return Outcome.ACKNOWLEDGE

    def _publish_anew(self, job: Job) -> Outcome:
        """A new message is redelivered soon, and often: this one's redeliveries may be far apart by now, or used up."""
        try:
            self.outbox.send([job])
        except Unavailable:
            return Outcome.REDELIVER
        return Outcome.ACKNOWLEDGE


def _ids(claim: Claim) -> dict[str, str | int]:
    """What is worked on, for logs and spans."""
    if isinstance(claim, NotClaimed):
        return {}
    job = claim.job
    return {"book_id": str(job.book_id), "version": job.version, "stage": job.type, "attempt": claim.attempt}


def _about(failure: Failure) -> dict[str, str]:
    """No message and no traceback: they are on record, where only those may read them who may read the book."""
    return {"error_class": failure.error_class, "fingerprint": failure.fingerprint, "place": failure.place}
