"""The queue of redrives: when each dead letter is due, and the jobs that begin again by it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres import status_rows
from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.dead_letter_list import (
    INSERT_ACTION_UNLESS_ONE_WAITS,
    MAX_CHOSEN,
    THAT_ARE_CHOSEN,
    filter_values,
)
from shared.adapters.postgres.job_rows import IN_TURN_SINCE, add_jobs, to_job
from shared.adapters.postgres.locks import lock_book
from shared.adapters.postgres.tombstones import add_tombstones, job_path
from shared.domain.books import Status
from shared.domain.dead_letters import MAX_REDRIVES, Redrive, RedriveRequest, Refusal
from shared.domain.jobs import Job
from shared.domain.stages import JobType

Row = Mapping[str, Any]

RECONCILE = "reconcile"
"""Who asks for redrives that nobody asked for."""

# What waits for chapters comes after them: it can be made when they are in, and is no canary for them.
SELECT_DEAD_LETTERS_TO_REDRIVE = f"""
    SELECT d.dead_letter_id, d.job_id, d.version < b.latest_version AS is_old,
           (SELECT count(*) FROM dead_letter_actions a WHERE a.dead_letter_id = d.dead_letter_id
            AND a.action = 'redrive' AND a.requested_by <> '{RECONCILE}'
            AND a.outcome IN ('sent', 'succeeded', 'failed')) AS redrives,
           EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = d.book_id AND j.version = d.version
                   AND j.state = 'cancelled') AS is_cancelled
    {THAT_ARE_CHOSEN} AND (d.state = 'open' OR d.state = 'discarded' AND %(ids)s::bigint[] IS NOT NULL)
    ORDER BY d.type = 'book-completion' OR coalesce(d.payload->>'mode' = 'full', false), d.dead_letter_id
    LIMIT %(limit)s
"""

# What failed since a service was away: the sooner the less often it has. While a stage is paused its jobs only wait.
SELECT_PASSING_DEAD_LETTERS_THAT_ARE_DUE = """
    SELECT d.dead_letter_id FROM dead_letters d JOIN books b USING (book_id)
    WHERE d.is_passing AND d.state = 'open' AND d.version = b.latest_version
      AND d.last_seen < %(now)s - least(interval '6 hours', interval '30 seconds' * 2 ^ least(d.times, 10))
      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = d.book_id AND j.version = d.version
                      AND j.state = 'cancelled')
    ORDER BY d.last_seen LIMIT %(limit)s
"""

# Of a batch, an owner sees the dead letters of their own books alone.
OF_BATCH_OF_OWNER = """
    FROM dead_letters d LEFT JOIN books b USING (book_id)
    WHERE a.dead_letter_id = d.dead_letter_id AND a.batch_id = %(batch_id)s AND a.action = 'redrive'
      AND (%(owner_uid)s::text IS NULL OR b.owner_uid = %(owner_uid)s)
"""

# How a redrive goes.
COUNT_BATCH_BY_OUTCOME = f"""
    SELECT a.outcome, count(*) AS letters, min(a.requested_at) AS requested_at, min(a.per_minute) AS per_minute
    FROM dead_letter_actions a WHERE EXISTS (SELECT 1 {OF_BATCH_OF_OWNER}) GROUP BY a.outcome
"""

# What was not sent stays open.
DROP_ACTIONS_OF_BATCH_THAT_WAIT = f"""
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = %(reason)s, finished_at = %(now)s
    WHERE action_id IN (
        SELECT a.action_id FROM dead_letter_actions a
        WHERE a.outcome IN ('held', 'waiting') AND EXISTS (SELECT 1 {OF_BATCH_OF_OWNER})
        ORDER BY a.action_id FOR NO KEY UPDATE OF a)
"""

# Those first that were due first.
SELECT_ACTIONS_THAT_ARE_DUE = """
    SELECT a.action_id, d.dead_letter_id, d.type, d.book_id, d.version, d.job_id,
           d.payload - 'job_id' - 'book_id' - 'version' AS data
    FROM dead_letter_actions a JOIN dead_letters d USING (dead_letter_id) JOIN books b USING (book_id)
    WHERE a.outcome = 'waiting' AND a.not_before <= %s ORDER BY a.not_before, a.action_id LIMIT %s
"""

# A canary whose book was deleted, cancelled or imported anew has no outcome: the actions held for it are dropped.
DROP_ACTIONS_WHOSE_CANARY_IS_GONE = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = 'its canary was dropped', finished_at = %s
    WHERE action_id IN (
        SELECT h.action_id FROM dead_letter_actions h
        WHERE h.outcome = 'held' AND NOT EXISTS (
            SELECT 1 FROM dead_letter_actions c JOIN dead_letters d USING (dead_letter_id) JOIN books b USING (book_id)
            WHERE c.batch_id = h.batch_id AND c.is_canary AND c.outcome IN ('waiting', 'sent')
              AND d.version = b.latest_version
              AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = d.book_id AND j.version = d.version
                              AND j.state = 'cancelled'))
        ORDER BY h.action_id FOR NO KEY UPDATE OF h)
"""

# Those of the job that begins again, and of what is done again after it.
LOCK_JOBS_OF_REDRIVE = """
    SELECT 1 FROM jobs
    WHERE job_id = %s OR book_id = %s AND version = %s AND type IN ('book-completion', 'book-context-extraction')
    ORDER BY job_id FOR UPDATE
"""

# Whoever marks it sends it; no other run does. Its dead letter is locked first.
MARK_ACTION_SENT_IF_IT_WAITS = """
    WITH dead_letter AS (
        SELECT dead_letter_id FROM dead_letters WHERE dead_letter_id = %s AND state IN ('open', 'discarded')
        FOR NO KEY UPDATE)
    UPDATE dead_letter_actions a SET outcome = 'sent' FROM dead_letter d
    WHERE a.action_id = %s AND a.outcome = 'waiting' AND d.dead_letter_id = a.dead_letter_id
"""

# The reason is shown to who asked for it.
DROP_ACTION_IF_ITS_OUTCOME_IS = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = %s, finished_at = %s
    WHERE action_id = %s AND outcome = %s
"""

# Not open until its job has ended.
MARK_DEAD_LETTER_REDRIVEN = "UPDATE dead_letters SET state = 'redriven' WHERE dead_letter_id = %s"

# A fan-in's job may be made by counting already.
IS_JOB_UNDER_WAY = "SELECT 1 FROM jobs WHERE job_id = %s AND state IN ('pending', 'processing', 'retrying')"

# The row may be gone by retention, or be that of the group in which one chapter failed.
BEGIN_JOB_AGAIN_UNLESS_UNDER_WAY = f"""
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_at, owner_uid, imported_at)
    SELECT %(job_id)s, %(type)s, v.book_id, v.version, %(data)s, %(attempts)s, %(now)s, b.owner_uid, {IN_TURN_SINCE}
    FROM books b JOIN book_versions v USING (book_id) WHERE book_id = %(book_id)s AND v.version = %(version)s
    ON CONFLICT (job_id) DO UPDATE SET
        state = 'pending', data = excluded.data, attempts = 0, abandoned = 0, failures = '[]', error = NULL,
        unavailable_since = NULL, result = NULL, finished_on = NULL, published_at = NULL,
        created_at = excluded.created_at, revision = nextval('revisions')
    WHERE jobs.state IN ('completed', 'failed')
"""

# Another dead letter of its vectors holds a chapter back until it is redriven too.
SELECT_CHAPTERS_OF_OTHER_DEAD_LETTERS = """
    SELECT DISTINCT c.value AS chapter_id
    FROM dead_letters d, jsonb_array_elements_text(d.payload->'chapter_ids') AS c (value)
    WHERE d.book_id = %s AND d.version = %s AND d.job_id <> %s AND d.state IN ('open', 'discarded')
      AND d.type = 'embedding-generation'
"""

# What was reduced from the chapters is made anew when they are all in: fan-in makes these jobs again.
DELETE_FAN_IN_JOBS = """
    DELETE FROM jobs WHERE book_id = %s AND version = %s
      AND (type = 'book-completion' OR type = 'book-context-extraction' AND data->>'mode' = 'full')
    RETURNING job_id
"""


class PostgresRedrives:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does."""

    def __init__(self, database: Database, tolerated: float) -> None:
        self._database = database
        self._tolerated = tolerated

    def add(self, request: RedriveRequest, batch_id: UUID, now: datetime) -> Redrive:
        accepted: list[int] = []
        refused: list[Refusal] = []
        with self._database.transaction() as connection:
            for row in connection.execute(
                SELECT_DEAD_LETTERS_TO_REDRIVE, filter_values(request.chosen, MAX_CHOSEN)
            ).fetchall():
                action = {"dead_letter_id": row["dead_letter_id"], "batch_id": batch_id, "action": "redrive"}
                action |= _turn(request, len(accepted), now) | {"now": now}
                reason = _refusal(row)
                if reason is None and not connection.execute(INSERT_ACTION_UNLESS_ONE_WAITS, action).rowcount:
                    reason = "it is queued for a redrive already"
                if reason is None:
                    accepted.append(row["dead_letter_id"])
                else:
                    refused.append(Refusal(dead_letter_id=row["dead_letter_id"], reason=reason))
        return Redrive(batch_id=batch_id, accepted=accepted, refused=refused)

    def add_passing(self, batch_id: UUID, now: datetime, limit: int) -> int:
        action = {"batch_id": batch_id, "action": "redrive", "requested_by": RECONCILE, "reason": None, "now": now}
        action |= {"per_minute": None, "is_canary": False, "not_before": now, "outcome": "waiting", "finished_at": None}
        with self._database.transaction() as connection:
            due = connection.execute(SELECT_PASSING_DEAD_LETTERS_THAT_ARE_DUE, {"now": now, "limit": limit})
            ids = [row["dead_letter_id"] for row in due]
            return sum(
                connection.execute(INSERT_ACTION_UNLESS_ONE_WAITS, action | {"dead_letter_id": i}).rowcount for i in ids
            )

    def batch(self, owner_uid: str | None, batch_id: UUID) -> Row | None:
        with self._database.statements() as connection:
            rows = connection.execute(COUNT_BATCH_BY_OUTCOME, {"owner_uid": owner_uid, "batch_id": batch_id}).fetchall()
        if not rows:
            return None
        known = {"batch_id": batch_id, "requested_at": rows[0]["requested_at"], "per_minute": rows[0]["per_minute"]}
        return known | {r["outcome"]: r["letters"] for r in rows}

    def stop(self, owner_uid: str | None, batch_id: UUID, reason: str, now: datetime) -> int:
        where = {"owner_uid": owner_uid, "batch_id": batch_id, "reason": reason, "now": now}
        with self._database.statements() as connection:
            return connection.execute(DROP_ACTIONS_OF_BATCH_THAT_WAIT, where).rowcount

    def release(self, now: datetime, limit: int) -> list[Job]:
        with self._database.transaction() as connection:
            connection.execute(DROP_ACTIONS_WHOSE_CANARY_IS_GONE, (now,))
            due = connection.execute(SELECT_ACTIONS_THAT_ARE_DUE, (now, limit)).fetchall()
        return [job for row in due for job in self.send(row, now)]

    def send(self, row: Row, now: datetime) -> list[Job]:
        """Make the job of a due action pending, undo the fan-in of its book, and return the due jobs."""
        job = to_job(row)
        with self._database.transaction() as connection:
            is_latest = lock_book(connection, job.book_version)
            connection.execute(LOCK_JOBS_OF_REDRIVE, (job.job_id, job.book_id, job.version))
            letter_and_action = (row["dead_letter_id"], row["action_id"])
            if not connection.execute(MARK_ACTION_SENT_IF_IT_WAITS, letter_and_action).rowcount:
                # Unless another run was quicker: then it is that one's.
                connection.execute(
                    DROP_ACTION_IF_ITS_OUTCOME_IS, ("another run dealt with it", now, row["action_id"], "waiting")
                )
                return []
            problem = self._begin_again(connection, job, now) if is_latest else "a newer version took over"
            if problem:
                connection.execute(DROP_ACTION_IF_ITS_OUTCOME_IS, (problem, now, row["action_id"], "sent"))
                return []
            if job.chapter_ids or job.is_fan_in:
                undone = [r["job_id"] for r in connection.execute(DELETE_FAN_IN_JOBS, (job.book_id, job.version))]
                add_tombstones(connection, job.book_id, [job_path(j) for j in undone], now)
            if job.type is JobType.CHAPTER_PROCESSING:
                status_rows.await_metadata(connection, job.chapter_ids, now)
            else:
                self._free_chapters(connection, job, now)
            due = status_rows.advance_book(connection, job.book_version, now, self._tolerated).due
            made = add_jobs(connection, due, job.job_id, now)
            if job.is_fan_in and not made:
                # Its dead letter stays open, and is settled when counting makes the job and that ends well.
                connection.execute(
                    DROP_ACTION_IF_ITS_OUTCOME_IS,
                    ("it waits for chapters that are not complete", now, row["action_id"], "sent"),
                )
                return []
            connection.execute(MARK_DEAD_LETTER_REDRIVEN, (row["dead_letter_id"],))
            return made if job.is_fan_in else [job, *made]

    def _begin_again(self, connection: Connection, job: Job, now: datetime) -> str | None:
        """Make the job pending; return why not, if it can't be. A fan-in's job is left to counting, which makes it."""
        if status_rows.is_cancelled(connection, job.book_version):
            return "the book is cancelled; resume it first"
        if job.is_fan_in:
            is_under_way = connection.execute(IS_JOB_UNDER_WAY, (job.job_id,)).rowcount
            return "it is being worked on already" if is_under_way else None
        row = {"job_id": job.job_id, "type": job.type, "book_id": job.book_id, "version": job.version, "now": now}
        row |= {"data": Jsonb(dict(job.data)), "attempts": job.stage.attempts}
        return (
            None
            if connection.execute(BEGIN_JOB_AGAIN_UNLESS_UNDER_WAY, row).rowcount
            else "it is being worked on already"
        )

    def _free_chapters(self, connection: Connection, job: Job, now: datetime) -> None:
        held = {
            UUID(r["chapter_id"])
            for r in connection.execute(SELECT_CHAPTERS_OF_OTHER_DEAD_LETTERS, (job.book_id, job.version, job.job_id))
        }
        free = [c for c in job.chapter_ids if c not in held]
        status_rows.set_chapters(
            connection, job.book_version, Status.PENDING, now, those=[Status.FAILED], chapter_ids=free
        )


def _refusal(row: Row) -> str | None:
    if row["job_id"] is None:
        return "the message could not be read, so there is nothing to do again"
    if row["is_old"]:
        return "a newer version of the book took over"
    if row["is_cancelled"]:
        return "the book is cancelled; resume it first"
    if row["redrives"] >= MAX_REDRIVES:
        return f"it was redriven {MAX_REDRIVES} times; fix the cause and import it again with force, or discard it"
    return None


def _turn(request: RedriveRequest, position: int, now: datetime) -> dict[str, Any]:
    """When the dead letter at this position of its batch may be sent."""
    held = request.canary and position > 0
    return {
        "requested_by": request.requested_by,
        "reason": None,
        "per_minute": request.per_minute,
        "is_canary": request.canary and position == 0,
        "not_before": None if held else now + timedelta(minutes=position // request.per_minute),
        "outcome": "held" if held else "waiting",
        "finished_at": None,
    }
