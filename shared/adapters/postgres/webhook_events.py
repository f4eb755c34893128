"""The outbox of events: written in the transaction in which they happen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from shared.adapters.postgres.database import Connection
from shared.domain.books import Cause
from shared.domain.error_codes import shown_to_users
from shared.domain.progress import VersionCounts
from shared.domain.webhooks import EventType, event_id

# Of a move to another embedding model, which no owner asked for, nothing is told.
INSERT_DELIVERIES_FOR_ENDPOINTS_THAT_WANT_THE_EVENT = f"""
    INSERT INTO webhook_deliveries (webhook_id, book_id, event_id, event_type, created_at, next_attempt_at, payload)
    SELECT w.webhook_id, b.book_id, %(event_id)s || '-' || extract(epoch FROM v.created_at)::bigint, %(type)s,
           %(now)s, %(now)s,
           jsonb_set(jsonb_set(%(payload)s, '{{data,title}}', to_jsonb(v.title)), '{{data,chapters,processed}}',
               to_jsonb((SELECT count(*) FROM recent_chapters r
                         WHERE r.book_id = b.book_id AND r.version = v.version AND r.metadata IS NOT NULL)))
    FROM books b JOIN book_versions v USING (book_id) JOIN webhooks w USING (owner_uid)
    WHERE b.book_id = %(book_id)s AND v.version = %(version)s AND v.cause = '{Cause.IMPORT}'
      AND w.disabled_at IS NULL AND %(type)s = ANY(w.events)
    ORDER BY w.webhook_id
    ON CONFLICT (webhook_id, event_id) DO NOTHING
"""


def add_deliveries(
    connection: Connection, event: EventType, counts: VersionCounts, error: dict[str, Any] | None, now: datetime
) -> bool:
    """Tell the owner's endpoints of the event, once for each version; whether there is any that wants it."""
    version = counts.version
    row = {"event_id": event_id(event, version), "type": event, "now": now}
    row |= {"book_id": version.book_id, "version": version.version}
    data = {
        "book_id": str(version.book_id),
        "version": version.version,
        "title": None,
        "status": "failed" if event is EventType.BOOK_FAILED else "completed",
        "chapters": {"total": counts.total, "processed": None, "failed": counts.failed},
        "error": shown_to_users(error) if error else None,
    }
    # The rows have the title, and how many were processed.
    payload = {"type": event, "timestamp": now.isoformat(), "data": data}
    inserted = connection.execute(
        INSERT_DELIVERIES_FOR_ENDPOINTS_THAT_WANT_THE_EVENT, row | {"payload": Jsonb(payload)}
    )
    return inserted.rowcount > 0
