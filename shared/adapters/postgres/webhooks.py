"""Endpoints of users' apps, and the log of their deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.locks import LOCK_OWNER
from shared.domain.webhooks import (
    Delivery,
    DeliveryError,
    DeliveryState,
    DisabledBecause,
    EventType,
    Webhook,
)

# What is shown: not the secret, and not the lease.
_SHOWN = "webhook_id, owner_uid, url, events, description, created_at, failing_since, disabled_at, disabled_because"
_SHOWN_OF_DELIVERY = """delivery_id, event_id, event_type, book_id, state, attempts, created_at, next_attempt_at,
    last_attempt_at, last_status, last_error"""

# Under the user's lock: of two requests, one takes the last place.
INSERT_WEBHOOK_BELOW_LIMIT = """
    INSERT INTO webhooks (webhook_id, owner_uid, url, events, description, secret, created_at)
    SELECT %(webhook_id)s, %(owner_uid)s, %(url)s, %(events)s, %(description)s, %(secret)s, %(created_at)s
    WHERE (SELECT count(*) FROM webhooks WHERE owner_uid = %(owner_uid)s) < %(most)s
"""
SELECT_WEBHOOKS_OF_OWNER = f"""
    SELECT {_SHOWN} FROM webhooks WHERE owner_uid = %(owner_uid)s
      AND (%(webhook_id)s::uuid IS NULL OR webhook_id = %(webhook_id)s)
    ORDER BY created_at DESC, webhook_id
"""
DELETE_WEBHOOK_OF_OWNER = "DELETE FROM webhooks WHERE owner_uid = %s AND webhook_id = %s"

# What is pending goes on.
ENABLE_WEBHOOK_OF_OWNER = f"""
    UPDATE webhooks SET disabled_at = NULL, disabled_because = NULL, failing_since = NULL, not_before = NULL
    WHERE owner_uid = %s AND webhook_id = %s RETURNING {_SHOWN}
"""
SELECT_DELIVERIES = f"""
    SELECT {_SHOWN_OF_DELIVERY} FROM webhook_deliveries
    WHERE webhook_id = %(webhook_id)s AND (%(before)s::bigint IS NULL OR delivery_id < %(before)s)
    ORDER BY delivery_id DESC LIMIT %(limit)s
"""
SEND_DELIVERY_AGAIN = f"""
    UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_attempt_at = %s
    WHERE webhook_id = %s AND delivery_id = %s RETURNING {_SHOWN_OF_DELIVERY}
"""


class PostgresWebhooks:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, webhook: Webhook, secret: bytes, most: int) -> bool:
        row = {**asdict(webhook), "events": list(webhook.events), "secret": secret, "most": most}
        with self._database.transaction() as connection:
            connection.execute(LOCK_OWNER, (webhook.owner_uid,))
            return connection.execute(INSERT_WEBHOOK_BELOW_LIMIT, row).rowcount > 0

    def of(self, owner_uid: str) -> Sequence[Webhook]:
        return self._select(owner_uid, None)

    def get(self, owner_uid: str, webhook_id: UUID) -> Webhook | None:
        return next(iter(self._select(owner_uid, webhook_id)), None)

    def _select(self, owner_uid: str, webhook_id: UUID | None) -> list[Webhook]:
        where = {"owner_uid": owner_uid, "webhook_id": webhook_id}
        with self._database.statements() as connection:
            return [_webhook(row) for row in connection.execute(SELECT_WEBHOOKS_OF_OWNER, where)]

    def delete(self, owner_uid: str, webhook_id: UUID) -> bool:
        with self._database.statements() as connection:
            return connection.execute(DELETE_WEBHOOK_OF_OWNER, (owner_uid, webhook_id)).rowcount > 0

    def enable(self, owner_uid: str, webhook_id: UUID) -> Webhook | None:
        with self._database.statements() as connection:
            row = connection.execute(ENABLE_WEBHOOK_OF_OWNER, (owner_uid, webhook_id)).fetchone()
        return _webhook(row) if row else None

    def deliveries(self, webhook_id: UUID, before: int | None, limit: int) -> Sequence[Delivery]:
        where = {"webhook_id": webhook_id, "before": before, "limit": limit}
        with self._database.statements() as connection:
            return [_delivery(row) for row in connection.execute(SELECT_DELIVERIES, where)]

    def resend(self, webhook_id: UUID, delivery_id: int, now: datetime) -> Delivery | None:
        with self._database.statements() as connection:
            row = connection.execute(SEND_DELIVERY_AGAIN, (now, webhook_id, delivery_id)).fetchone()
        return _delivery(row) if row else None


def _webhook(row: Mapping[str, Any]) -> Webhook:
    because = row["disabled_because"]
    kinds = {"events": [EventType(e) for e in row["events"]], "disabled_because": because and DisabledBecause(because)}
    return Webhook(**{**row, **kinds})


def _delivery(row: Mapping[str, Any]) -> Delivery:
    kinds = {"event_type": EventType(row["event_type"]), "state": DeliveryState(row["state"])}
    kinds |= {"last_error": row["last_error"] and DeliveryError(row["last_error"])}
    return Delivery(**{**row, **kinds})
