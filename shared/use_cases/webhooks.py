"""Endpoints of users' apps: what their owners do with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.errors import TooManyWebhooks, UnknownDelivery, UnknownWebhook, WebhookDisabled
from shared.domain.identity import Caller
from shared.domain.webhook_targets import read_url
from shared.domain.webhooks import Delivery, EventType, Webhook, write_secret
from shared.pipeline.outbox import Outbox
from shared.ports import Clock, Webhooks

MAX_WEBHOOKS = 20
"""Of one user."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ManageWebhooks:
    """Users manage their own alone, administrators too. All raise UnknownWebhook for what is someone else's."""

    webhooks: Webhooks
    outbox: Outbox
    clock: Clock
    new_id: Callable[[], UUID]
    new_secret: Callable[[], bytes]
    allow_private: bool

    def create(self, caller: Caller, url: str, events: Collection[EventType], description: str) -> tuple[Webhook, str]:
        """The endpoint, and the secret that is told this once. Raises Rejected for a URL that nothing goes to, and
        TooManyWebhooks."""
        read_url(url, allow_private=self.allow_private)
        secret = self.new_secret()
        webhook = Webhook(
            webhook_id=self.new_id(),
            owner_uid=caller.uid,
            url=url,
            events=sorted(set(events)),
            description=description,
            created_at=self.clock(),
        )
        if not self.webhooks.add(webhook, secret, MAX_WEBHOOKS):
            raise TooManyWebhooks(f"there may be {MAX_WEBHOOKS} webhooks")
        log.info("webhook.created", webhook_id=str(webhook.webhook_id))
        return webhook, write_secret(secret)

    def of(self, caller: Caller) -> Sequence[Webhook]:
        return self.webhooks.of(caller.uid)

    def delete(self, caller: Caller, webhook_id: UUID) -> None:
        if not self.webhooks.delete(caller.uid, webhook_id):
            raise UnknownWebhook
        log.info("webhook.deleted", webhook_id=str(webhook_id))

    def enable(self, caller: Caller, webhook_id: UUID) -> Webhook:
        """Deliver to it again, beginning with what is pending."""
        webhook = self.webhooks.enable(caller.uid, webhook_id)
        if webhook is None:
            raise UnknownWebhook
        log.info("webhook.enabled", webhook_id=str(webhook_id))
        self.outbox.wake_notify()
        return webhook

    def deliveries(self, caller: Caller, webhook_id: UUID, before: int | None, limit: int) -> Sequence[Delivery]:
        self._required(caller, webhook_id)
        return self.webhooks.deliveries(webhook_id, before, limit)

    def resend(self, caller: Caller, webhook_id: UUID, delivery_id: int) -> Delivery:
        """Send an event again, whatever came of it. Raises UnknownDelivery, and WebhookDisabled."""
        if self._required(caller, webhook_id).disabled_at:
            raise WebhookDisabled("the webhook is disabled")
        delivery = self.webhooks.resend(webhook_id, delivery_id, self.clock())
        if delivery is None:
            raise UnknownDelivery
        self.outbox.wake_notify()
        return delivery

    def _required(self, caller: Caller, webhook_id: UUID) -> Webhook:
        webhook = self.webhooks.get(caller.uid, webhook_id)
        if webhook is None:
            raise UnknownWebhook
        return webhook
