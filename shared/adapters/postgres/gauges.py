"""How much waits and is under way, over all processes."""

from __future__ import annotations

from datetime import datetime

from shared.adapters.postgres.database import Database
from shared.domain.stages import JOB_TYPES, JobType
from shared.ports import Projections, Telemetry
from shared.ports.metrics import DEAD_LETTERS, PERMITS, PROJECTION_LAG, QUEUE_AGE, QUEUE_JOBS

# A row for each stage. Those that wait and those that hold permits are found by indexes of their own.
COUNT_JOBS_AND_DEAD_LETTERS = """
    SELECT t.type, w.jobs, w.oldest, (SELECT count(*) FROM jobs WHERE permitted_at IS NOT NULL AND type = t.type)
           AS permits, (SELECT count(*) FROM dead_letters WHERE state = 'open' AND type = t.type) AS dead_letters
    FROM unnest(%s::text[]) AS t (type) CROSS JOIN LATERAL (
        SELECT count(*) AS jobs, min(created_at) AS oldest FROM jobs
        WHERE permitted_at IS NULL AND state IN ('pending', 'retrying') AND type = t.type) w
"""


class PostgresGauges:
    def __init__(self, database: Database, projections: Projections, telemetry: Telemetry) -> None:
        self._database, self._projections, self._telemetry = database, projections, telemetry

    def record(self, now: datetime) -> None:
        with self._database.statements() as connection:
            rows = connection.execute(COUNT_JOBS_AND_DEAD_LETTERS, (list(JobType),)).fetchall()
        self._telemetry.record(PROJECTION_LAG, self._projections.count_lagging(now), {})
        for row in rows:
            stage = {"stage": row["type"]}
            self._telemetry.record(DEAD_LETTERS, row["dead_letters"], stage)
            if row["type"] in JOB_TYPES:
                age = (now - row["oldest"]).total_seconds() if row["oldest"] else 0.0
                for metric, value in ((QUEUE_JOBS, row["jobs"]), (QUEUE_AGE, max(0.0, age)), (PERMITS, row["permits"])):
                    self._telemetry.record(metric, value, stage)
