"""Pub/Sub's push requests. Anything but 2xx is a NACK: what can never succeed is recorded and acknowledged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Request, Response

from shared.domain.errors import Rejected
from shared.domain.failures import describe, stack_of, storable
from shared.domain.push_envelope import Envelope, is_id, read_envelope
from shared.domain.stages import JobType
from shared.domain.trace_context import TRACEPARENT
from shared.http.bodies import refuse_large_body
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.service_calls import answer_service
from shared.pipeline.deliver_webhooks import DeliverWebhooks
from shared.pipeline.record_dead_letter import RecordDeadLetter
from shared.pipeline.runner import Outcome, Runner
from shared.ports import Clock, JobStore, PushVerifier, Telemetry

log = structlog.get_logger()

# Pub/Sub's messages have at most 10 MB, which base64 makes a third larger: what is larger is not Pub/Sub's.
MAX_PUSH_BYTES = 16_000_000
_RECORDED_CHARACTERS = 10_000


@dataclass(frozen=True, kw_only=True)
class PushEndpoints:
    """Turns push requests into runs of stages. 204 acknowledges, on the emulator too."""

    verifier: PushVerifier
    runner: Runner
    dead_letters: RecordDeadLetter
    deliver_webhooks: DeliverWebhooks
    store: JobStore
    clock: Clock
    telemetry: Telemetry
    local_only: bool

    def stage(self, request: Request, job_type: JobType) -> Response:
        """Run the job that the message names."""

        def run(envelope: Envelope) -> Response:
            if self.runner.run(envelope.job_id) is Outcome.REDELIVER:
                return problem(Code.JOB_BUSY, "the job is busy, or waits for its next attempt: deliver it again later")
            return Response(status=204)

        return self._serve(request, job_type, run)

    def dead_letter(self, request: Request) -> Response:
        """Record a message whose deliveries are exhausted."""

        def record(envelope: Envelope) -> Response:
            self.dead_letters(envelope.job_id, envelope.attributes)
            return Response(status=204)

        return self._serve(request, JobType.DEAD_LETTER, record)

    def notify(self, request: Request) -> Response:
        """Send to webhooks what is due, whatever the message says: it only wakes."""

        def deliver(envelope: Envelope) -> Response:
            log.info("notify.woken", job_id=envelope.job_id)
            self.deliver_webhooks()
            return Response(status=204)

        return self._serve(request, JobType.NOTIFICATIONS, deliver)

    def _serve(self, request: Request, job_type: JobType, act: Callable[[Envelope], Response]) -> Response:
        def read_and_act() -> Response:
            return refuse_large_body(request, MAX_PUSH_BYTES) or self._act(request.get_data(), job_type, act)

        return answer_service(request, self.verifier, read_and_act, local_only=self.local_only)

    def _act(self, raw: bytes, job_type: JobType, act: Callable[[Envelope], Response]) -> Response:
        body = _parse(raw)
        try:
            envelope = read_envelope(body)
            parent = envelope.attributes.get(TRACEPARENT)
            with self.telemetry.span(f"stage {job_type}", {"stage": str(job_type)}, parent=parent, kind="consumer"):
                return act(envelope)
        except Rejected as error:
            self._record(job_type, raw, body, error)
            return Response(status=204)

    def _record(self, job_type: JobType, raw: bytes, body: Any, error: Rejected) -> None:
        log.error("push.unreadable", topic=job_type, error=str(error), stack_trace=stack_of(error))
        known = storable(raw.decode(errors="replace"))[:_RECORDED_CHARACTERS]
        self.store.record_unreadable(job_type, {"body": known}, describe(error), _key(raw, body), self.clock())


def _parse(raw: bytes) -> Any:
    """None for what is not JSON, or is nested deeper than the parser goes."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _key(raw: bytes, body: Any) -> str:
    """The same for each delivery of a message. Its id alone is not enough: the emulator's ids start anew."""
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(message, dict) and is_id(message.get("messageId")) and isinstance(message.get("data"), str):
        raw = f"{message['messageId']} {message['data']}".encode(errors="replace")
    return hashlib.sha256(raw).hexdigest()
