"""Rows of jobs, inside the transactions of those who write them.

Two columns have names of their own: `lease` holds the fencing token, `abandoned` counts leases that expired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from shared.adapters.postgres.database import Connection
from shared.domain.jobs import Job
from shared.domain.stages import JobType

CANCELLED = """state = 'cancelled', lease = NULL, lease_until = NULL, next_attempt_at = NULL, permitted_at = NULL,
        finished_on = %(now)s, revision = nextval('revisions')"""
"""What an UPDATE sets of a job that nobody is to work on any more: without its token an attempt writes nothing."""

WAITS_AGAIN = "state = 'pending', permitted_at = NULL, next_attempt_at = NULL, revision = nextval('revisions')"
"""What an UPDATE sets of a job that gives its permit back before it has ended."""

COMES_AFTER_IMPORTS = "interval '1000 years'"
"""How much later than it was made a version has its turn that nobody imported: after all that somebody did."""

IN_TURN_SINCE = f"CASE v.cause WHEN 'reembed' THEN v.created_at + {COMES_AFTER_IMPORTS} ELSE v.created_at END"
"""What `imported_at` is of the jobs of a version `v`."""

IS_IMPORT = f"imported_at < now() + {COMES_AFTER_IMPORTS} / 2"
"""Whether a job is of a version that somebody imported."""

# In one round trip: a long book's split makes thousands under the lock of its book. What counting asks for may be there
# already.
INSERT_JOBS_UNLESS_THERE = f"""
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_by, created_at, owner_uid,
                      imported_at, trace_context)
    SELECT n.job_id, n.type, n.book_id, n.version, n.data, n.max_attempts, %(created_by)s, %(now)s, b.owner_uid,
           {IN_TURN_SINCE}, coalesce(%(trace)s, (
               SELECT trace_context FROM jobs WHERE job_id = %(created_by)s))
    FROM unnest(%(job_ids)s::text[], %(types)s::text[], %(books)s::uuid[], %(versions)s::int[], %(data)s::jsonb[],
                %(attempts)s::int[])
         WITH ORDINALITY AS n (job_id, type, book_id, version, data, max_attempts, place)
    JOIN books b USING (book_id) JOIN book_versions v USING (book_id, version)
    ORDER BY n.place ON CONFLICT (job_id) DO NOTHING RETURNING job_id
"""


def to_job(row: Mapping[str, Any]) -> Job:
    return Job(
        job_id=row["job_id"],
        type=JobType(row["type"]),
        book_id=row["book_id"],
        version=row["version"],
        data=row["data"],
        trace_context=row.get("trace_context"),
    )


def add_jobs(
    connection: Connection, jobs: Sequence[Job], created_by: str | None, now: datetime, trace: str | None = None
) -> list[Job]:
    """Write the rows that are not there yet, and return those jobs, in their order. They go on with the trace that is
    named, or that of the job that creates them."""
    if not jobs:
        return []
    rows: dict[str, Any] = {
        "job_ids": [job.job_id for job in jobs],
        "types": [job.type for job in jobs],
        "books": [job.book_id for job in jobs],
        "versions": [job.version for job in jobs],
        "data": [Jsonb(dict(job.data)) for job in jobs],
        "attempts": [job.stage.attempts for job in jobs],
        "created_by": created_by,
        "now": now,
        "trace": trace,
    }
    added = {row["job_id"] for row in connection.execute(INSERT_JOBS_UNLESS_THERE, rows)}
    return [job for job in {job.job_id: job for job in jobs}.values() if job.job_id in added]
