"""Pub/Sub's push requests. Anything but 2xx is a NACK: what can never succeed is recorded and acknowledged."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Request, Response

from shared.domain.errors import Rejected, Unavailable
from shared.domain.failures import describe
from shared.domain.identity import Unauthenticated
from shared.domain.stages import JobType
from shared.http.problems import problem
from shared.pipeline.record_dead_letter import RecordDeadLetter
from shared.pipeline.runner import Outcome, Runner
from shared.ports import Clock, JobStore, PushVerifier

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Envelope:
    data: Mapping[str, Any]
    attributes: Mapping[str, str]
    message_id: str
    delivery_attempt: int | None


def read_envelope(body: Any) -> Envelope:
    """Reads production's push body (cloud.google.com/pubsub/docs/push). Raises Rejected."""
    try:
        message = body["message"]
        attributes = message.get("attributes") or {}
        data = json.loads(base64.b64decode(message.get("data") or "", validate=True))
        message_id, attempt = str(message["messageId"]), body.get("deliveryAttempt")
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error, RecursionError) as error:
        raise Rejected(f"not a push envelope: {type(error).__name__}") from None
    if not isinstance(data, dict) or not isinstance(attributes, dict):
        raise Rejected("the message's data is not a JSON object")
    return Envelope(data=data, attributes=attributes, message_id=message_id, delivery_attempt=attempt)


@dataclass(frozen=True, kw_only=True)
class PushEndpoints:
    """Turns push requests into runs of stages. 204 acknowledges, on the emulator too."""

    verifier: PushVerifier
    runner: Runner
    dead_letters: RecordDeadLetter
    store: JobStore
    clock: Clock

    def stage(self, request: Request, job_type: JobType) -> Response:
        """Runs the job that the message names."""

        def run(envelope: Envelope) -> Response:
            job_id = envelope.data.get("job_id")
            if not isinstance(job_id, str) or "\0" in job_id:
                raise Rejected("the message names no job")
            if self.runner.run(job_id, job_type) is Outcome.REDELIVER:
                return problem(429, "not now: deliver it again later")
            return Response(status=204)

        return self._serve(request, job_type, run)

    def dead_letter(self, request: Request) -> Response:
        """Records what the broker gave up on."""

        def record(envelope: Envelope) -> Response:
            self.dead_letters(envelope.data, envelope.attributes)
            return Response(status=204)

        return self._serve(request, JobType.DEAD_LETTER, record)

    def _serve(self, request: Request, job_type: JobType, act: Any) -> Response:
        try:
            self.verifier.verify(request.headers.get("Authorization"))
        except Unauthenticated as error:
            return problem(401, str(error), {"WWW-Authenticate": "Bearer"})
        body = request.get_json(silent=True, force=True)
        try:
            try:
                response: Response = act(read_envelope(body))
                return response
            except Rejected as error:
                self._record(job_type, body, error)
                return Response(status=204)
        except Unavailable as error:
            log.warning("push.unavailable", topic=job_type, error=str(error))
            return problem(503, "a service that this needs is down: deliver it again later")

    def _record(self, job_type: JobType, body: Any, error: Rejected) -> None:
        log.error("push.unreadable", topic=job_type, error=str(error))
        known = json.dumps(body, default=str).replace("\\u0000", "")[:10_000]
        self.store.record_unreadable(job_type, {"body": known}, describe(error), self.clock())
