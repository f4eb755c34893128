"""Pub/Sub's push requests. Anything but 2xx is a NACK: what can never succeed is recorded and acknowledged."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Request, Response

from shared.domain.errors import Rejected, Unauthenticated, Unavailable
from shared.domain.failures import describe, storable
from shared.domain.stages import JobType
from shared.http.bodies import drop_body, refuse_large_body
from shared.http.headers import secured
from shared.http.problems import problem
from shared.pipeline.record_dead_letter import RecordDeadLetter
from shared.pipeline.runner import Outcome, Runner
from shared.ports import Clock, JobStore, PushVerifier

log = structlog.get_logger()

# Pub/Sub's messages have at most 10 MB, which base64 makes a third larger: what is larger is not Pub/Sub's.
MAX_PUSH_BYTES = 16_000_000
_MAX_ID = 200
_RECORDED = 10_000


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
        message_id, attempt = message["messageId"], body.get("deliveryAttempt")
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Rejected(f"not a push envelope: {type(error).__name__}") from None
    if not isinstance(data, dict):
        raise Rejected("the message's data is not a JSON object")
    if not isinstance(attributes, dict) or not all(map(_is_text, attributes.values())):
        raise Rejected("the message's attributes are not texts")
    if not _is_id(message_id):
        raise Rejected("the message's id is none")
    return Envelope(data=data, attributes=attributes, message_id=message_id, delivery_attempt=attempt)


def _job_id(envelope: Envelope) -> str:
    job_id = envelope.data.get("job_id")
    if not _is_id(job_id):
        raise Rejected("the message names no job")
    return str(job_id)


def _is_id(value: Any) -> bool:
    return _is_text(value) and 0 < len(value) <= _MAX_ID


def _is_text(value: Any) -> bool:
    """PostgreSQL keeps neither NUL nor half of a surrogate pair."""
    return isinstance(value, str) and value == storable(value)


def _parse(raw: bytes) -> Any:
    """None for what is not JSON, or is nested deeper than the parser goes."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _key(raw: bytes, body: Any) -> str:
    """The same for the same message, whichever delivery it is. An id alone is none: the emulator's begin again."""
    message = body.get("message") if isinstance(body, dict) else None
    if isinstance(message, dict) and _is_id(message.get("messageId")) and isinstance(message.get("data"), str):
        raw = f"{message['messageId']} {message['data']}".encode(errors="replace")
    return hashlib.sha256(raw).hexdigest()


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
            if self.runner.run(_job_id(envelope), job_type) is Outcome.REDELIVER:
                return problem(429, "not now: deliver it again later")
            return Response(status=204)

        return self._serve(request, job_type, run)

    def dead_letter(self, request: Request) -> Response:
        """Records what the broker gave up on."""

        def record(envelope: Envelope) -> Response:
            self.dead_letters(_job_id(envelope), envelope.attributes)
            return Response(status=204)

        return self._serve(request, JobType.DEAD_LETTER, record)

    def _serve(self, request: Request, job_type: JobType, act: Callable[[Envelope], Response]) -> Response:
        try:
            self.verifier.verify(request.headers.get("Authorization"))
            response = refuse_large_body(request, MAX_PUSH_BYTES) or self._act(request.get_data(), job_type, act)
        except Unauthenticated as error:
            response = problem(401, str(error), {"WWW-Authenticate": "Bearer"})
        except Unavailable as error:
            log.warning("push.unavailable", topic=job_type, error=str(error))
            response = problem(503, "a service that this needs is down: deliver it again later")
        drop_body(request)
        return secured(response)

    def _act(self, raw: bytes, job_type: JobType, act: Callable[[Envelope], Response]) -> Response:
        body = _parse(raw)
        try:
            return act(read_envelope(body))
        except Rejected as error:
            self._record(job_type, raw, body, error)
            return Response(status=204)

    def _record(self, job_type: JobType, raw: bytes, body: Any, error: Rejected) -> None:
        log.error("push.unreadable", topic=job_type, error=str(error))
        known = storable(raw.decode(errors="replace"))[:_RECORDED]
        self.store.record_unreadable(job_type, {"body": known}, describe(error), _key(raw, body), self.clock())
