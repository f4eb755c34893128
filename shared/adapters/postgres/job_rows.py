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

# What counting asks for may be there already.
INSERT_JOB_UNLESS_THERE = """
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_by, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (job_id) DO NOTHING
"""


def to_job(row: Mapping[str, Any]) -> Job:
    return Job(
        job_id=row["job_id"],
        type=JobType(row["type"]),
        book_id=row["book_id"],
        version=row["version"],
        data=row["data"],
    )


def add_jobs(connection: Connection, jobs: Sequence[Job], created_by: str | None, now: datetime) -> list[Job]:
    """Write the rows that are not there yet, and return those jobs."""
    added = []
    for job in jobs:
        row = (job.job_id, job.type, job.book_id, job.version, Jsonb(dict(job.data)), job.stage.attempts)
        if connection.execute(INSERT_JOB_UNLESS_THERE, (*row, created_by, now)).rowcount:
            added.append(job)
    return added
