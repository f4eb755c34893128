"""Finds stalled jobs: those that are not worked on unless their messages are published again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.job_rows import to_job
from shared.domain.jobs import Job
from shared.domain.stages import STAGES

# A commit that made a job publishes it at once: what takes longer was lost.
UNPUBLISHED_FOR = timedelta(seconds=5)

# Long enough for a broker to deliver again by itself, short enough for work to go on within 90 seconds.
SILENT_FOR = timedelta(seconds=25)

# A queue that moves in order is trusted for this long.
QUEUED_FOR = timedelta(minutes=10)

# Brokers deliver out of order: what was made so shortly before another is not overtaken by it.
OUT_OF_ORDER_BY = timedelta(seconds=5)

# Never published; lease expired; retry overdue; or queued though the queue stands still (no job of its type is worked
# on, or was taken up of late) or has moved past it (one that was made later was taken up; when it was made, no second
# publication changes). What is overtaken may still wait out a broker's backoff: each time it has been sent again it is
# given as long as it has been there, so that the copies stay few. What was sent longest ago comes first, so that a
# stage that is down keeps no other from being helped.
SELECT_STALLED_JOBS = """
    WITH queues AS MATERIALIZED (  -- else counted anew for every row that waits
        SELECT type,
               (SELECT max(created_at) FROM jobs t WHERE t.type = s.type AND processed_on >= created_at) AS reached,
               NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.type = s.type AND d.at > %(silent)s AND state = 'claimed')
               AND NOT EXISTS (SELECT 1 FROM jobs t WHERE t.type = s.type AND state = 'processing'
                               AND lease_until > %(now)s) AS is_idle
        FROM unnest(%(types)s::text[]) AS s (type)
    )
    SELECT j.* FROM jobs j JOIN queues q USING (type)
    WHERE state = 'pending' AND published_at IS NULL AND created_at < %(unpublished)s
       OR state = 'pending' AND published_at < %(silent)s
          AND (is_idle OR published_at < %(queued)s
               OR reached > published_at + greatest(%(out_of_order)s, published_at - created_at))
       OR state = 'processing' AND lease_until < %(silent)s AND coalesce(published_at, created_at) < %(silent)s
       OR state = 'retrying' AND next_attempt_at < %(silent)s AND coalesce(published_at, created_at) < %(silent)s
    ORDER BY published_at NULLS FIRST, created_at, job_id LIMIT %(limit)s
"""


def stalled_jobs(connection: Connection, now: datetime, limit: int) -> list[Job]:
    """At most `limit` of them, those first whose message was sent longest ago."""
    where: dict[str, Any] = {"now": now, "types": list(STAGES), "out_of_order": OUT_OF_ORDER_BY, "limit": limit}
    where |= {"unpublished": now - UNPUBLISHED_FOR, "silent": now - SILENT_FOR, "queued": now - QUEUED_FOR}
    return [to_job(row) for row in connection.execute(SELECT_STALLED_JOBS, where)]
