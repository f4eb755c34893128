"""The queue of deliveries. The lease is the endpoint's, which has one in flight; a crash frees it by running out."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.domain.webhooks import Answer, ClaimedDelivery, Verdict

# Endpoints `w` that may be sent something, each with the delivery `d` that has been due for the longest.
_ENDPOINTS_WITH_THEIR_NEXT_DELIVERY = """
    FROM webhooks w CROSS JOIN LATERAL (
        SELECT delivery_id, next_attempt_at FROM webhook_deliveries
        WHERE webhook_id = w.webhook_id AND state = 'pending' AND next_attempt_at <= %(now)s
        ORDER BY next_attempt_at, delivery_id LIMIT 1) d
    WHERE w.disabled_at IS NULL AND (w.lease_until IS NULL OR w.lease_until <= %(now)s)
      AND (w.not_before IS NULL OR w.not_before <= %(now)s)
"""
COUNT_ENDPOINTS_WITH_SOMETHING_DUE = f"""
    SELECT count(*) AS due FROM (SELECT 1 {_ENDPOINTS_WITH_THEIR_NEXT_DELIVERY} LIMIT %(limit)s) found
"""

# What another sender takes at this moment is passed over. No lock is in the way of who adds deliveries.
LEASE_NEXT_ENDPOINT = f"""
    WITH next AS (
        SELECT w.webhook_id, d.delivery_id {_ENDPOINTS_WITH_THEIR_NEXT_DELIVERY}
        ORDER BY d.next_attempt_at, d.delivery_id LIMIT 1 FOR NO KEY UPDATE OF w SKIP LOCKED
    ), leased AS (
        UPDATE webhooks w SET lease = %(lease)s, lease_until = %(until)s
        FROM next WHERE w.webhook_id = next.webhook_id
        RETURNING w.lease, w.webhook_id, w.url, w.secret, w.failing_since, next.delivery_id
    )
    SELECT l.*, d.event_id, d.payload, d.attempts FROM leased l JOIN webhook_deliveries d USING (delivery_id)
"""

# The lease decides: whoever was overtaken writes nothing.
RELEASE_ENDPOINT_IF_ITS_LEASE_IS = """
    UPDATE webhooks SET lease = NULL, lease_until = NULL, not_before = %(not_before)s,
        failing_since = %(failing_since)s,
        disabled_because = coalesce(disabled_because, %(disabled_because)s),
        disabled_at = coalesce(disabled_at, CASE WHEN %(disabled_because)s::text IS NOT NULL THEN %(now)s END)
    WHERE webhook_id = %(webhook_id)s AND lease = %(lease)s
"""
RECORD_ATTEMPT = """
    UPDATE webhook_deliveries SET state = %(state)s, attempts = attempts + 1, next_attempt_at = %(next_attempt_at)s,
        last_attempt_at = %(now)s, last_status = %(status)s, last_error = %(error)s
    WHERE delivery_id = %(delivery_id)s
"""


class PostgresWebhookDeliveries:
    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: datetime, limit: int) -> int:
        with self._database.statements() as connection:
            row = connection.execute(COUNT_ENDPOINTS_WITH_SOMETHING_DUE, {"now": now, "limit": limit}).fetchone()
        return int(row["due"]) if row else 0

    def claim(self, lease: UUID, until: datetime, now: datetime) -> ClaimedDelivery | None:
        with self._database.statements() as connection:
            row = connection.execute(LEASE_NEXT_ENDPOINT, {"lease": lease, "until": until, "now": now}).fetchone()
        return ClaimedDelivery(**row) if row else None

    def record(self, claimed: ClaimedDelivery, answer: Answer, verdict: Verdict, now: datetime) -> bool:
        row = {"webhook_id": claimed.webhook_id, "lease": claimed.lease, "delivery_id": claimed.delivery_id, "now": now}
        row |= {"state": verdict.state, "next_attempt_at": verdict.next_attempt_at, "not_before": verdict.not_before}
        row |= {"failing_since": verdict.failing_since, "disabled_because": verdict.disabled_because}
        row |= {"status": answer.status, "error": answer.error}
        with self._database.transaction() as connection:
            if not connection.execute(RELEASE_ENDPOINT_IF_ITS_LEASE_IS, row).rowcount:
                return False
            connection.execute(RECORD_ATTEMPT, row)
            return True
