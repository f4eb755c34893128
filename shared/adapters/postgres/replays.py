"""Receipts of replays: what was delivered again, and what that changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.job_rows import to_job
from shared.domain.jobs import Job
from shared.domain.stages import JobType

# Jobs that had ended: nothing that is delivered of them may have an effect.
OF_JOBS_THAT_HAD_ENDED = """
    FROM jobs j JOIN books b USING (book_id)
    WHERE j.type = %(topic)s AND j.state IN ('completed', 'failed') AND j.version = b.latest_version
      AND (%(since)s::timestamptz IS NULL OR j.published_at >= %(since)s)
      AND (%(book_id)s::uuid IS NULL OR j.book_id = %(book_id)s)
"""

# The transaction and the revision tell later what changed since.
INSERT_REPLAY = """
    INSERT INTO replays (replay_id, topic, source, requested_by, at, first_transaction, first_revision, jobs)
    SELECT %(replay_id)s, %(topic)s, %(source)s, %(requested_by)s, %(now)s, pg_current_xact_id()::xid,
           nextval('revisions'), coalesce(array_agg(j.job_id), '{}')
"""

# A row's xmin is the transaction that wrote it: younger than the replay's own means that it changed since. A job's
# row also notes what was shown of it, which is no change: its revision tells.
SELECT_RECEIPT = """
    WITH replay AS (SELECT * FROM replays WHERE replay_id = %s),
    ended AS (SELECT unnest(jobs) AS job_id FROM replay),
    again AS (SELECT d.state FROM deliveries d, replay p
              WHERE d.type = p.topic AND d.at >= p.at AND d.job_id IN (SELECT job_id FROM ended)),
    touched AS (SELECT DISTINCT j.book_id FROM jobs j JOIN processing_status s
                    ON s.entity_type = 'book' AND s.entity_id = j.book_id, replay p
                WHERE j.job_id IN (SELECT job_id FROM ended) AND s.completed_at < p.at),
    changed AS (
        SELECT r.xmin FROM recent_chapters r WHERE r.book_id IN (SELECT book_id FROM touched)
        UNION ALL SELECT k.xmin FROM chapter_chunks k JOIN recent_chapters r USING (chapter_id)
                  WHERE r.book_id IN (SELECT book_id FROM touched)
        UNION ALL SELECT c.xmin FROM book_contexts c WHERE c.book_id IN (SELECT book_id FROM touched)
        UNION ALL SELECT v.xmin FROM book_versions v WHERE v.book_id IN (SELECT book_id FROM touched))
    SELECT p.replay_id, p.topic AS stage, p.source, p.requested_by, p.at,
           CASE WHEN NOT p.source ? 'snapshot' THEN
               (SELECT count(*) FROM jobs j WHERE j.job_id IN (SELECT job_id FROM ended)
                AND (p.source->>'since' IS NULL OR j.published_at >= (p.source->>'since')::timestamptz))
           END AS expected,
           (SELECT count(*) FROM again) AS messages_redelivered,
           (SELECT count(*) FROM again WHERE state = 'claimed') AS stages_repeated,
           (SELECT count(*) FROM answers a WHERE a.created_at >= p.at
                AND a.book_id IN (SELECT book_id FROM touched))
           + (SELECT count(*) FROM book_vectors v WHERE v.created_at >= p.at
                AND v.book_id IN (SELECT book_id FROM touched)) AS model_calls,
           (SELECT count(*) FROM changed WHERE age(changed.xmin) < age(p.first_transaction))
           + (SELECT count(*) FROM jobs j WHERE j.job_id IN (SELECT job_id FROM ended)
              AND j.revision > p.first_revision) AS rows_changed
    FROM replay p
"""


class PostgresReplays:
    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, topic: JobType, since: datetime | None, book_id: UUID | None) -> int:
        with self._database.statements() as connection:
            row = connection.execute(
                f"SELECT count(*) AS n {OF_JOBS_THAT_HAD_ENDED}", _where(topic, since, book_id)
            ).fetchone()
        return int(row["n"]) if row else 0

    def jobs(self, topic: JobType, book_id: UUID) -> list[Job]:
        with self._database.statements() as connection:
            rows = connection.execute(
                f"SELECT j.* {OF_JOBS_THAT_HAD_ENDED} ORDER BY j.job_id", _where(topic, None, book_id)
            )
            return [to_job(r) for r in rows]

    def begin(
        self,
        replay_id: UUID,
        topic: JobType,
        source: Mapping[str, Any],
        requested_by: str,
        book_id: UUID | None,
        now: datetime,
    ) -> None:
        row = {"replay_id": replay_id, "source": Jsonb(dict(source)), "requested_by": requested_by, "now": now}
        with self._database.statements() as connection:
            connection.execute(INSERT_REPLAY + OF_JOBS_THAT_HAD_ENDED, row | _where(topic, None, book_id))

    def receipt(self, replay_id: UUID) -> Mapping[str, Any] | None:
        with self._database.statements() as connection:
            return connection.execute(SELECT_RECEIPT, (replay_id,)).fetchone()


def _where(topic: JobType, since: datetime | None, book_id: UUID | None) -> dict[str, Any]:
    return {"topic": topic, "since": since, "book_id": book_id}
