"""Webhooks after the Standard Webhooks specification: what is told, how it is signed, and when it is tried again."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.domain.books import BookVersion, Status

SECRET_PREFIX = "whsec_"

RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long a failed attempt waits for the next, at least, as the specification has it. After the last it fails."""

# So that endpoints that failed together are not asked again together.
JITTER = 0.2

# An endpoint that has just failed gets nothing else meanwhile, and what it asks for by Retry-After is bounded.
PAUSE_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 86_400.0

_GONE, _ASK_TO_WAIT = 410, (429, 503)


class EventType(StrEnum):
    """What endpoints may be told of."""

    BOOK_COMPLETED = "book.completed"
    BOOK_COMPLETED_WITH_FAILURES = "book.completed_with_failures"
    BOOK_FAILED = "book.failed"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryError(StrEnum):
    """Why an attempt failed. What can't be reached is not told apart: no user is to learn what listens where."""

    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    CERTIFICATE = "certificate"
    STATUS = "status"


class DisabledBecause(StrEnum):
    """It answered 410; or nothing succeeded for days."""

    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An endpoint, without its secret, which is told once."""

    webhook_id: UUID
    owner_uid: str
    url: str
    events: Collection[EventType]
    description: str
    created_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_because: DisabledBecause | None = None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint. `attempts` counts from its beginning, or from when it was sent again."""

    delivery_id: int
    event_id: str
    event_type: EventType
    book_id: UUID
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: DeliveryError | None


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that the caller may attempt, until the lease of its endpoint expires."""

    lease: UUID
    webhook_id: UUID
    delivery_id: int
    url: str
    event_id: str
    payload: Mapping[str, Any]
    attempts: int
    failing_since: datetime | None
    secret: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an attempt: `status` is HTTP's; `retry_after` that header as it was sent."""

    status: int | None = None
    error: DeliveryError | None = None
    retry_after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an answer means for the delivery, and for its endpoint (from `not_before` on)."""

    state: DeliveryState
    next_attempt_at: datetime | None = None
    not_before: datetime | None = None
    failing_since: datetime | None = None
    disabled_because: DisabledBecause | None = None


def event_of(status: Status, failed_chapters: int) -> EventType | None:
    """What is told of a version that came to this status; None if nothing is."""
    if status is Status.COMPLETED:
        return EventType.BOOK_COMPLETED_WITH_FAILURES if failed_chapters else EventType.BOOK_COMPLETED
    return EventType.BOOK_FAILED if status is Status.FAILED else None


def event_id(event: EventType, version: BookVersion) -> str:
    """The same however often it happens. Without a full stop, which separates what is signed. Whoever writes it adds
    when the version was made: a document's book that is deleted and imported again has the id that it had."""
    return f"{event.replace('.', '-')}-{version.book_id}-v{version.version}"


def write_secret(secret: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signed_headers(secret: bytes, event_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The specification's headers; the moment of the attempt is signed too, so that none can be sent again later."""
    timestamp = str(int(now.timestamp()))
    digest = hmac.digest(secret, b".".join([event_id.encode(), timestamp.encode(), body]), "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def judge(claimed: ClaimedDelivery, answer: Answer, now: datetime, jitter: float, disable_after: timedelta) -> Verdict:
    """What is to become of a delivery, by what its attempt came to. `jitter` is a random number in [0, 1)."""
    if answer.error is None:
        return Verdict(state=DeliveryState.DELIVERED)
    failing_since = claimed.failing_since or now
    if answer.status == _GONE:
        return Verdict(state=DeliveryState.FAILED, failing_since=failing_since, disabled_because=DisabledBecause.GONE)
    asked = _asked_seconds(answer.retry_after, now) if answer.status in _ASK_TO_WAIT else 0.0
    pause = timedelta(seconds=max(PAUSE_SECONDS, asked))
    next_attempt_at = None
    if claimed.attempts < len(RETRY_SECONDS):
        next_attempt_at = now + max(pause, timedelta(seconds=RETRY_SECONDS[claimed.attempts] * (1 + JITTER * jitter)))
    return Verdict(
        state=DeliveryState.PENDING if next_attempt_at else DeliveryState.FAILED,
        next_attempt_at=next_attempt_at,
        not_before=now + pause,
        failing_since=failing_since,
        disabled_because=DisabledBecause.FAILING if now - failing_since >= disable_after else None,
    )


def _asked_seconds(retry_after: str | None, now: datetime) -> float:
    """What a header Retry-After asks for, in seconds or as a date; 0 if it can't be read."""
    if not retry_after:
        return 0.0
    try:
        if retry_after.isdecimal():
            seconds = float(retry_after)
        else:
            seconds = (parsedate_to_datetime(retry_after).replace(tzinfo=UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds))
