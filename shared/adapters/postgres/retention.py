"""Drops rows that are past their retention: in slices, skipping what another run is dropping."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.tombstones import insert_tombstones_sql
from shared.domain.stages import STAGES

# A job's document goes with its row.
INSERT_TOMBSTONES_OF_DROPPED_JOBS = insert_tombstones_sql("SELECT 'jobs/' || job_id, book_id FROM dropped")

# A book's latest version keeps all its jobs for thirty days, so that a replay finds them, and the steps that tell how
# far it is for good. Of its older versions the newest of each type stay, as many as the table of stages says, for
# thirty days at most. Whatever is not ended stays with its book.
DROP_JOBS_BEYOND_THOSE_KEPT = f"""
    WITH ended AS (
        SELECT j.job_id, j.book_id,
               row_number() OVER (PARTITION BY j.book_id, j.type, j.state
                                  ORDER BY j.finished_on DESC, j.job_id) AS position,
               j.type, j.state, j.finished_on, j.version < b.latest_version AS is_old,
               s.status IN ('completed', 'failed') AS is_settled,
               j.type IN ('chapter-processing', 'embedding-generation') AS is_chapters
        FROM jobs j JOIN books b USING (book_id)
        JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
        WHERE j.state IN ('completed', 'failed', 'cancelled')
    ), dropped AS (
        -- The state again, on the locked row itself: one that is redriven just now is not dropped.
        DELETE FROM jobs WHERE job_id IN (
            SELECT job_id FROM jobs WHERE state IN ('completed', 'failed', 'cancelled') AND job_id IN (
                SELECT job_id FROM ended JOIN unnest(%(types)s::text[], %(states)s::text[], %(counts)s::int[])
                    AS kept (type, state, count) USING (type, state)
                WHERE (finished_on < %(month)s OR is_old AND position > count)
                  AND (is_old OR is_settled AND is_chapters)
                ORDER BY finished_on LIMIT %(limit)s)
            FOR UPDATE SKIP LOCKED)
        RETURNING job_id, book_id
    )
    {INSERT_TOMBSTONES_OF_DROPPED_JOBS}
"""

# Readers' version and the latest stay.
DROP_VERSIONS_THAT_NOBODY_SEES = f"""
    WITH old AS (
        SELECT v.book_id, v.version FROM book_versions v JOIN books b USING (book_id)
        WHERE v.version < b.latest_version AND v.version IS DISTINCT FROM b.current_version
          AND v.created_at < %(week)s
        ORDER BY v.created_at LIMIT %(limit)s FOR UPDATE OF v SKIP LOCKED
    ), dropped AS (
        SELECT job_id, book_id FROM jobs JOIN old USING (book_id, version)
    ), tombstones AS ({INSERT_TOMBSTONES_OF_DROPPED_JOBS})
    DELETE FROM book_versions v USING old WHERE v.book_id = old.book_id AND v.version = old.version
"""

# These have no foreign key to go with.
DROP_STATUSES_WITHOUT_CHAPTER = """
    DELETE FROM processing_status WHERE (entity_type, entity_id) IN (
        SELECT s.entity_type, s.entity_id FROM processing_status s
        LEFT JOIN recent_chapters r ON r.chapter_id = s.entity_id
        WHERE s.entity_type = 'chapter' AND r.chapter_id IS NULL LIMIT %(limit)s)
"""

# A dead letter's actions are its audit log. One of a latest version, though discarded, still keeps its chapter failed.
DEAD_LETTERS_THAT_ARE_SETTLED = """
    last_seen < %(month)s AND NOT EXISTS (
        SELECT 1 FROM dead_letter_actions a WHERE a.dead_letter_id = dead_letters.dead_letter_id
        AND (a.outcome IN ('held', 'waiting', 'sent') OR a.finished_at >= %(month)s))
    AND (state = 'resolved' OR book_id IS NULL OR NOT EXISTS (
        SELECT 1 FROM books b WHERE b.book_id = dead_letters.book_id AND b.latest_version = dead_letters.version))
"""

# What goes by its age alone, or almost.
CONDITIONS_BY_TABLE = {
    "dead_letters": DEAD_LETTERS_THAT_ARE_SETTLED,
    "idempotency_keys": "created_at < %(week)s",
    "deliveries": "at < %(week)s",
    "replays": "at < %(month)s",
    "turns": "given_at < %(day)s",
    # Deleted once more after an attempt that was under way can have written it.
    "obsolete_documents": "buried_at >= since + interval '15 minutes'",
}
# In slices, skipping what another run is dropping.
DROP_ROWS_OF_TABLE_WHERE = """
    DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} WHERE {condition}
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""


class PostgresRetention:
    def __init__(self, database: Database) -> None:
        self._database = database

    def drop(self, now: datetime, limit: int) -> Mapping[str, int]:
        """Drop at most `limit` of each kind, and say how many."""
        where = _where(now, limit)
        dropped = {
            "jobs": self._execute(DROP_JOBS_BEYOND_THOSE_KEPT, where),
            "versions": self._execute(DROP_VERSIONS_THAT_NOBODY_SEES, where),
        }
        self._execute(DROP_STATUSES_WITHOUT_CHAPTER, where)
        for table, condition in CONDITIONS_BY_TABLE.items():
            dropped[table] = self._execute(DROP_ROWS_OF_TABLE_WHERE.format(table=table, condition=condition), where)
        return dropped

    def _execute(self, statement: str, where: Mapping[str, Any]) -> int:
        with self._database.statements() as connection:
            return connection.execute(statement, where).rowcount


def _where(now: datetime, limit: int) -> dict[str, Any]:
    kept = [(s.type, state, count) for s in STAGES.values() for state, count in _counts(s).items()]
    types, states, counts = zip(*kept, strict=True)
    return {
        "types": list(types),
        "states": list(states),
        "counts": list(counts),
        "now": now,
        "day": now - timedelta(days=1),
        "week": now - timedelta(days=7),
        "month": now - timedelta(days=30),
        "limit": limit,
    }


def _counts(stage: Any) -> dict[str, int]:
    return {"completed": stage.completed_kept, "failed": stage.failed_kept, "cancelled": stage.failed_kept}
