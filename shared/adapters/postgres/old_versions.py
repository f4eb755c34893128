"""Drops versions that nobody reads any more, and before that most of their jobs.

Each version that a newer one took over says when it is due; the latest never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres import vector_rows
from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.tombstones import insert_tombstones_sql
from shared.domain.stages import STAGES, Stage

# When another version becomes the latest, or the one that readers see. By then no attempt at them is under way.
MARK_OLDER_VERSIONS_DUE_IN_AN_HOUR = """
    UPDATE book_versions SET retention_due = %(now)s::timestamptz + interval '1 hour'
    WHERE book_id = %(book_id)s AND version < %(version)s
"""

# Whoever has them does all that is due; another run skips them.
LOCK_VERSIONS_THAT_ARE_DUE = """
    SELECT book_id, version FROM book_versions WHERE retention_due <= %(now)s
    ORDER BY retention_due LIMIT %(versions)s FOR UPDATE SKIP LOCKED
"""

# The versions at hand.
DUE = "unnest(%(book_ids)s::uuid[], %(numbers)s::int[]) AS due (book_id, version)"

# A job's document goes with its row.
INSERT_TOMBSTONES_OF_DROPPED_JOBS = insert_tombstones_sql("SELECT 'jobs/' || job_id, book_id, %(now)s FROM dropped")

# The rest of what goes with a version, and that others lock too: in the order of `locks`. Dropping has none.
LOCK_ROWS_OF_VERSIONS = (
    f"SELECT 1 FROM jobs j JOIN {DUE} USING (book_id, version) ORDER BY j.job_id FOR UPDATE OF j",
    """SELECT 1 FROM dead_letters WHERE book_id = ANY(%(book_ids)s) AND version = ANY(%(numbers)s)
       ORDER BY dead_letter_id FOR NO KEY UPDATE""",
)

# Readers' version stays. Statuses have no foreign key to go with; what failed of a version that is gone is settled.
DROP_VERSIONS_THAT_NOBODY_SEES = f"""
    WITH old AS MATERIALIZED (
        SELECT book_id, version FROM {DUE} JOIN book_versions v USING (book_id, version) JOIN books b USING (book_id)
        WHERE v.version < b.latest_version AND v.version IS DISTINCT FROM b.current_version AND v.created_at <= %(week)s
    ), dropped AS (
        SELECT j.job_id, j.book_id FROM old JOIN jobs j USING (book_id, version)
    ), tombstones AS ({INSERT_TOMBSTONES_OF_DROPPED_JOBS}),
    statuses AS (
        DELETE FROM processing_status s USING old
        WHERE s.book_id = old.book_id AND s.version = old.version AND s.entity_type = 'chapter'
    ), letters AS (
        UPDATE dead_letters d SET state = 'resolved', resolved_at = %(now)s FROM old
        WHERE d.book_id = old.book_id AND d.version = old.version AND d.state <> 'resolved'
    )
    DELETE FROM book_versions v USING old WHERE v.book_id = old.book_id AND v.version = old.version
    RETURNING v.book_id
"""

# Of a book's older versions the newest jobs of each type stay, as many as the table of stages says.
DROP_JOBS_BEYOND_THOSE_KEPT = f"""
    WITH ended AS (
        SELECT j.job_id, j.type, j.state,
               row_number() OVER (PARTITION BY j.book_id, j.type, j.state
                                  ORDER BY j.finished_on DESC, j.job_id) AS position
        FROM jobs j JOIN books b USING (book_id)
        WHERE j.book_id = ANY(%(book_ids)s) AND j.version < b.latest_version
          AND j.state IN ('completed', 'failed', 'cancelled')
    ), dropped AS (
        -- The state again, on the locked row itself: one that is begun again just now is not dropped.
        DELETE FROM jobs WHERE job_id IN (
            SELECT job_id FROM jobs WHERE state IN ('completed', 'failed', 'cancelled') AND job_id IN (
                SELECT job_id FROM ended JOIN unnest(%(types)s::text[], %(states)s::text[], %(counts)s::int[])
                    AS kept (type, state, count) USING (type, state)
                WHERE position > count LIMIT %(limit)s)
            FOR UPDATE SKIP LOCKED)
        RETURNING job_id, book_id
    )
    {INSERT_TOMBSTONES_OF_DROPPED_JOBS}
"""

# A week after its import it may be dropped. What readers see waits until they see another.
POSTPONE_VERSIONS = f"""
    UPDATE book_versions v
    SET retention_due = CASE WHEN v.version IS DISTINCT FROM b.current_version THEN v.created_at + interval '7 days' END
    FROM {DUE} JOIN books b USING (book_id)
    WHERE v.book_id = due.book_id AND v.version = due.version
"""

# A version has far more rows than any other thing that is dropped.
_ROWS_OF_VERSION = 50


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """`are_more_due`: there may be, and another call goes on."""

    jobs: int
    versions: int
    are_more_due: bool


def mark_due(connection: Connection, book_id: UUID, version: int, now: datetime) -> None:
    """Let retention look at the versions before this one, soon."""
    row = {"book_id": book_id, "version": version, "now": now}
    connection.execute(MARK_OLDER_VERSIONS_DUE_IN_AN_HOUR, row)


def drop_due(connection: Connection, where: Mapping[str, Any]) -> Dropped:
    """Deal with some versions that are due at `now`: `where` has also the moment a `week` before, and the `limit` of
    jobs."""
    versions = max(1, where["limit"] // _ROWS_OF_VERSION)
    due = connection.execute(LOCK_VERSIONS_THAT_ARE_DUE, {**where, "versions": versions}).fetchall()
    if not due:
        return Dropped(jobs=0, versions=0, are_more_due=False)
    those = {**where, **_KEPT, "book_ids": [r["book_id"] for r in due], "numbers": [r["version"] for r in due]}
    for statement in LOCK_ROWS_OF_VERSIONS:
        connection.execute(statement, those)
    gone = [r["book_id"] for r in connection.execute(DROP_VERSIONS_THAT_NOBODY_SEES, those)]
    if gone:
        vector_rows.mark_unused(connection, gone, where["now"])
    jobs = connection.execute(DROP_JOBS_BEYOND_THOSE_KEPT, those).rowcount
    is_done = jobs < where["limit"]
    if is_done:
        connection.execute(POSTPONE_VERSIONS, those)
    return Dropped(jobs=jobs, versions=len(gone), are_more_due=not is_done or len(due) == versions)


def _kept(stage: Stage) -> dict[str, int]:
    return {"completed": stage.completed_kept, "failed": stage.failed_kept, "cancelled": stage.failed_kept}


_TYPES, _STATES, _COUNTS = zip(
    *((s.type, state, count) for s in STAGES.values() for state, count in _kept(s).items()), strict=True
)
_KEPT = {"types": list(_TYPES), "states": list(_STATES), "counts": list(_COUNTS)}
