"""Endpoints of users' apps, which are told when a book ends."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.domain.webhook_targets import MAX_URL
from shared.domain.webhooks import Delivery, DeliveryError, DeliveryState, DisabledBecause, EventType, Webhook
from shared.http.dead_letters import MAX_ID
from shared.http.replies import caller, described, reply
from shared.http.schemas import Text
from shared.use_cases.webhooks import ManageWebhooks


class WebhookBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Text = Field(min_length=1, max_length=MAX_URL, description="`https://…`, at a public address")
    events: list[EventType] = Field(
        list(EventType), min_length=1, max_length=len(EventType), description="What it is told; without it, everything"
    )
    description: Text = Field("", max_length=200)


class WebhookEntry(BaseModel):
    webhook_id: UUID
    url: str
    events: list[EventType]
    description: str
    created_at: datetime
    failing_since: datetime | None = Field(description="No delivery has succeeded since")
    disabled_at: datetime | None = Field(description="Nothing is sent to it since")
    disabled_because: DisabledBecause | None


class WebhookReply(WebhookEntry):
    secret: str = Field(description="By which its deliveries are signed. It is told this once")


class WebhooksReply(BaseModel):
    webhooks: list[WebhookEntry]


class WebhookPath(BaseModel):
    webhook_id: UUID


class DeliveryPath(WebhookPath):
    delivery_id: int = Field(ge=1, le=MAX_ID)


class DeliveriesQuery(BaseModel):
    limit: int = Field(50, ge=1, le=500)
    after: int | None = Field(None, ge=1, le=MAX_ID, description="The last id of the page before")


class DeliveryEntry(BaseModel):
    delivery_id: int
    event_id: str = Field(description="The header `webhook-id`: the same however often it is sent")
    event_type: EventType
    book_id: UUID
    state: DeliveryState
    attempts: int = Field(description="Since its beginning, or since it was last sent again by hand")
    created_at: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None = Field(description="HTTP's, of the last answer")
    last_error: DeliveryError | None


class DeliveriesReply(BaseModel):
    deliveries: list[DeliveryEntry]


def add_webhooks(app: OpenAPI, manage: ManageWebhooks) -> None:
    @app.post("/api/webhooks", summary="Have an app told when a book ends", **described(WebhookReply, 409, status=201))
    def create_webhook(body: WebhookBody) -> Response:
        webhook, secret = manage.create(caller(), body.url, body.events, body.description)
        return reply(WebhookReply(**_entry(webhook).model_dump(), secret=secret), 201)

    @app.get("/api/webhooks", summary="Your webhooks", **described(WebhooksReply))
    def list_webhooks() -> Response:
        return reply(WebhooksReply(webhooks=[_entry(webhook) for webhook in manage.of(caller())]))

    @app.delete(
        "/api/webhooks/<webhook_id>", summary="Delete a webhook and its deliveries", **described(None, 404, status=204)
    )
    def delete_webhook(path: WebhookPath) -> Response:
        manage.delete(caller(), path.webhook_id)
        return Response(status=204)

    @app.post("/api/webhooks/<webhook_id>/enable", summary="Send to a webhook again", **described(WebhookEntry, 404))
    def enable_webhook(path: WebhookPath) -> Response:
        return reply(_entry(manage.enable(caller(), path.webhook_id)))

    @app.get(
        "/api/webhooks/<webhook_id>/deliveries",
        summary="What was sent to a webhook, the newest first",
        **described(DeliveriesReply, 404),
    )
    def list_deliveries(path: WebhookPath, query: DeliveriesQuery) -> Response:
        found = manage.deliveries(caller(), path.webhook_id, query.after, query.limit)
        return reply(DeliveriesReply(deliveries=[_delivery(delivery) for delivery in found]))

    @app.post(
        "/api/webhooks/<webhook_id>/deliveries/<delivery_id>/resend",
        summary="Send an event again",
        **described(DeliveryEntry, 404, 409, status=202),
    )
    def resend_delivery(path: DeliveryPath) -> Response:
        return reply(_delivery(manage.resend(caller(), path.webhook_id, path.delivery_id)), 202)


def _entry(webhook: Webhook) -> WebhookEntry:
    return WebhookEntry.model_validate(webhook, from_attributes=True)


def _delivery(delivery: Delivery) -> DeliveryEntry:
    return DeliveryEntry.model_validate(delivery, from_attributes=True)
