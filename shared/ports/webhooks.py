"""Endpoints of users' apps, and what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.domain.webhooks import Answer, ClaimedDelivery, Delivery, Verdict, Webhook


class Webhooks(Protocol):
    """Each user's own. What is someone else's looks as if it were not there."""

    def add(self, webhook: Webhook, secret: bytes, most: int) -> bool:
        """Keep an endpoint, unless its owner has `most` of them already: then False."""
        ...

    def of(self, owner_uid: str) -> Sequence[Webhook]:
        """The newest first."""
        ...

    def get(self, owner_uid: str, webhook_id: UUID) -> Webhook | None: ...

    def delete(self, owner_uid: str, webhook_id: UUID) -> bool:
        """Forget it, its secret and its deliveries. False if there is none."""
        ...

    def enable(self, owner_uid: str, webhook_id: UUID) -> Webhook | None:
        """Deliver to it again, as if it had never failed: what is pending, too."""
        ...

    def deliveries(self, webhook_id: UUID, before: int | None, limit: int) -> Sequence[Delivery]:
        """The newest first; `before` is the last id of the page before."""
        ...

    def resend(self, webhook_id: UUID, delivery_id: int, now: datetime) -> Delivery | None:
        """Make a delivery due, with all its attempts before it; the event's id stays."""
        ...


class WebhookDeliveries(Protocol):
    """The queue of deliveries. An endpoint has one in flight."""

    def due(self, now: datetime, limit: int) -> int:
        """How many endpoints have something due, at most `limit`."""
        ...

    def claim(self, lease: UUID, until: datetime, now: datetime) -> ClaimedDelivery | None:
        """Take the delivery that has been due for the longest, of an endpoint without any in flight."""
        ...

    def record(self, claimed: ClaimedDelivery, answer: Answer, verdict: Verdict, now: datetime) -> bool:
        """Write down what came of it. False, and nothing is written, if its lease is someone else's by now."""
        ...


class WebhookSender(Protocol):
    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST it to a public address alone; never raises for what the endpoint does."""
        ...
