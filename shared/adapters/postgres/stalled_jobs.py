"""Finds stalled jobs: those that hold a permit, and are not worked on unless their messages are published again."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.job_rows import to_job
from shared.domain.jobs import Job

# Who gives a permit publishes at once: what takes longer was lost.
UNPUBLISHED_FOR = timedelta(seconds=5)

# Long enough for a broker to deliver again by itself, short enough for work to go on within 90 seconds.
SILENT_FOR = timedelta(seconds=25)

# A stage may be down for hours: each time a message has been sent again it is given as long as it has been out, so
# that the copies stay few.
SILENT_FOR_AT_MOST = timedelta(minutes=10)

# Never published; published and not taken up; lease expired; or retry overdue. `since` is when it was due to be taken
# up (a lease, by the caller's clock), `sent` when that was last asked for. As many rows as there are permits: few.
SELECT_STALLED_JOBS = """
    WITH permitted AS (
        SELECT *, CASE state WHEN 'processing' THEN lease_until + (%(now)s - clock_timestamp())
                  WHEN 'retrying' THEN next_attempt_at ELSE permitted_at END AS since
        FROM jobs WHERE permitted_at IS NOT NULL
    ), sent AS (
        SELECT *, published_at IS NULL OR published_at < permitted_at AS is_unpublished,
               greatest(published_at, since) AS sent FROM permitted
    )
    SELECT * FROM sent
    WHERE sent < %(now)s - CASE WHEN is_unpublished AND state = 'pending' THEN %(unpublished)s
                           ELSE least(%(at_most)s, greatest(%(silent)s, sent - since)) END
    ORDER BY sent, ordinal
"""


def stalled_jobs(connection: Connection, now: datetime) -> list[Job]:
    """List them, those first whose message was sent longest ago."""
    where = {"now": now, "unpublished": UNPUBLISHED_FOR, "silent": SILENT_FOR, "at_most": SILENT_FOR_AT_MOST}
    return [to_job(row) for row in connection.execute(SELECT_STALLED_JOBS, where)]
