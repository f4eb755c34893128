"""Drops rows that are past their retention, in slices that skip what another run is dropping.

An index holds what may go, in the order of its age: a run reads no more than it drops, however much there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.old_versions import drop_due
from shared.adapters.postgres.tombstones import insert_tombstones_sql

SLICES = 10
"""Of each kind in one run: 10,000 books an hour make 6,800 jobs a minute, and a transaction is to be short."""

# Once a chapter's job has ended, what it found is with its chapter: nothing asks for the job but a replay. It ended so
# long ago that nobody writes its document any more.
DROP_JOBS_OF_CHAPTERS_BY_AGE = f"""
    WITH dropped AS (
        DELETE FROM jobs WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM jobs
            WHERE state IN ('completed', 'failed') AND type IN ('chapter-processing', 'embedding-generation')
              AND finished_on < %(month)s
            ORDER BY type, state, finished_on LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
        RETURNING job_id, book_id, finished_on
    )
    {insert_tombstones_sql("SELECT 'jobs/' || job_id, book_id, finished_on FROM dropped")}
"""

# A dead letter's actions are its audit log. Those of a latest version are open or discarded: they stay.
DEAD_LETTERS_THAT_ARE_SETTLED = """
    (state = 'resolved' OR book_id IS NULL) AND coalesce(resolved_at, last_seen) < %(month)s
    AND NOT EXISTS (SELECT 1 FROM dead_letter_actions a WHERE a.dead_letter_id = dead_letters.dead_letter_id
                    AND a.outcome IN ('held', 'waiting', 'sent'))
"""

# What goes by its age: the condition, and the column by whose order it is found.
CONDITIONS_BY_TABLE = {
    "dead_letters": (DEAD_LETTERS_THAT_ARE_SETTLED, "coalesce(resolved_at, last_seen)"),
    "idempotency_keys": ("created_at < %(week)s", "created_at"),
    "deliveries": ("at < %(week)s", "at"),
    "replays": ("at < %(month)s", "at"),
    # What came of them is with the chapters and contexts.
    "answers": ("created_at < %(month)s", "created_at"),
    "webhook_deliveries": ("created_at < %(month)s", "created_at"),
    "book_vectors": ("unused_since < %(month)s", "unused_since"),
}
# In slices, skipping what another run is dropping.
DROP_ROWS_OF_TABLE_WHERE = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition}
    ORDER BY {order} LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
"""


class PostgresRetention:
    def __init__(self, database: Database) -> None:
        self._database = database

    def drop(self, now: datetime, limit: int) -> Mapping[str, int]:
        where = {"now": now, "week": now - timedelta(days=7), "month": now - timedelta(days=30), "limit": limit}
        jobs, versions = self._drop_old_versions(where)
        dropped = {"jobs": jobs + self._drop_in_slices(DROP_JOBS_OF_CHAPTERS_BY_AGE, where), "versions": versions}
        for table, (condition, order) in CONDITIONS_BY_TABLE.items():
            statement = DROP_ROWS_OF_TABLE_WHERE.format(table=table, condition=condition, order=order)
            dropped[table] = self._drop_in_slices(statement, where)
        return dropped

    def _drop_old_versions(self, where: Mapping[str, Any]) -> tuple[int, int]:
        """How many jobs of versions that stay, and how many versions, with all that they had."""
        jobs = versions = 0
        for _ in range(SLICES):
            with self._database.transaction() as connection:
                dropped = drop_due(connection, where)
            jobs, versions = jobs + dropped.jobs, versions + dropped.versions
            if not dropped.are_more_due:
                break
        return jobs, versions

    def _drop_in_slices(self, statement: str, where: Mapping[str, Any]) -> int:
        total = 0
        with self._database.statements() as connection:
            for _ in range(SLICES):
                dropped = connection.execute(statement, where).rowcount
                total += dropped
                if dropped < where["limit"]:
                    break
        return total
