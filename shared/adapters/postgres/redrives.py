"""What people do about dead letters: look at them, redrive them, discard them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from shared.adapters.postgres import status_rows
from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.imports import check_limit
from shared.adapters.postgres.job_store import add_jobs, to_job
from shared.adapters.postgres.tombstones import add_tombstones, job_path
from shared.domain.dead_letters import MAX_REDRIVES, DeadLetterFilter, Redrive, RedriveRequest, Refusal
from shared.domain.errors import TooManyBooks
from shared.domain.jobs import Job, Status

Row = Mapping[str, Any]

_CHOSEN = """
    FROM dead_letters d LEFT JOIN books b USING (book_id)
    WHERE (%(owner_uid)s::text IS NULL OR b.owner_uid = %(owner_uid)s)
      AND (%(ids)s::bigint[] IS NULL OR d.dead_letter_id = ANY(%(ids)s))
      AND (%(stage)s::text IS NULL OR d.type = %(stage)s)
      AND (%(book_id)s::uuid IS NULL OR d.book_id = %(book_id)s)
      AND (%(fingerprint)s::text IS NULL OR d.fingerprint = %(fingerprint)s)
      AND (%(state)s::text IS NULL OR d.state = %(state)s)
      AND (%(since)s::timestamptz IS NULL OR d.last_seen >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR d.last_seen <= %(until)s)
"""
_PAGE = f"""
    SELECT d.* {_CHOSEN} AND (%(after)s::bigint IS NULL OR d.dead_letter_id < %(after)s)
    ORDER BY d.dead_letter_id DESC LIMIT %(limit)s
"""
_GROUPS = f"""
    SELECT d.fingerprint, d.type, d.error_class, min(d.message) AS message, count(*) AS letters,
           count(DISTINCT d.book_id) AS books, min(d.first_seen) AS first_seen, max(d.last_seen) AS last_seen
    {_CHOSEN} GROUP BY d.fingerprint, d.type, d.error_class ORDER BY letters DESC, last_seen DESC LIMIT %(limit)s
"""
_ACTIONS = """
    SELECT batch_id, action, requested_by, requested_at, reason, is_canary, outcome, finished_at
    FROM dead_letter_actions WHERE dead_letter_id = %s ORDER BY action_id
"""

# What waits for chapters comes after them: it can be made when they are in, and is no canary for them.
_TO_REDRIVE = f"""
    SELECT d.dead_letter_id, d.job_id, d.version < b.latest_version AS is_old,
           (SELECT count(*) FROM dead_letter_actions a WHERE a.dead_letter_id = d.dead_letter_id
            AND a.action = 'redrive' AND a.outcome IN ('sent', 'succeeded', 'failed')) AS redrives,
           EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = d.book_id AND j.version = d.version
                   AND j.state = 'cancelled') AS is_cancelled
    {_CHOSEN} AND (d.state = 'open' OR d.state = 'discarded' AND %(ids)s::bigint[] IS NOT NULL)
    ORDER BY d.type = 'book-completion' OR coalesce(d.payload->>'mode' = 'full', false), d.dead_letter_id
    LIMIT %(limit)s
"""
_ADD_ACTION = """
    INSERT INTO dead_letter_actions (dead_letter_id, batch_id, action, requested_by, requested_at, reason, per_minute,
                                     is_canary, not_before, outcome, finished_at)
    VALUES (%(dead_letter_id)s, %(batch_id)s, %(action)s, %(requested_by)s, %(now)s, %(reason)s, %(per_minute)s,
            %(is_canary)s, %(not_before)s, %(outcome)s, %(finished_at)s)
    ON CONFLICT (dead_letter_id) WHERE outcome IN ('held', 'waiting') DO NOTHING
"""
_TO_DISCARD = f"SELECT d.dead_letter_id {_CHOSEN} AND d.state = 'open' LIMIT %(limit)s"
_DISCARD = """
    UPDATE dead_letters SET state = 'discarded' WHERE dead_letter_id = ANY(%s) AND state = 'open'
    RETURNING dead_letter_id
"""
_CALL_OFF = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = 'the letter was discarded', finished_at = %(now)s
    WHERE dead_letter_id = ANY(%(ids)s) AND outcome IN ('held', 'waiting')
"""
_MAX_LETTERS = 10_000

_OF_BATCH = """
    FROM dead_letters d LEFT JOIN books b USING (book_id)
    WHERE a.dead_letter_id = d.dead_letter_id AND a.batch_id = %(batch_id)s AND a.action = 'redrive'
      AND (%(owner_uid)s::text IS NULL OR b.owner_uid = %(owner_uid)s)
"""
_BATCH = f"""
    SELECT a.outcome, count(*) AS letters, min(a.requested_at) AS requested_at, min(a.per_minute) AS per_minute
    FROM dead_letter_actions a WHERE EXISTS (SELECT 1 {_OF_BATCH}) GROUP BY a.outcome
"""
_STOP = f"""
    UPDATE dead_letter_actions a SET outcome = 'dropped', reason = %(reason)s, finished_at = %(now)s
    {_OF_BATCH} AND a.outcome IN ('held', 'waiting')
"""

_DUE = """
    SELECT a.action_id, d.dead_letter_id, d.type, d.book_id, d.version, d.job_id, b.owner_uid,
           d.payload - 'job_id' - 'book_id' - 'version' AS data
    FROM dead_letter_actions a JOIN dead_letters d USING (dead_letter_id) JOIN books b USING (book_id)
    WHERE a.outcome = 'waiting' AND a.not_before <= %s ORDER BY a.not_before, a.action_id LIMIT %s
"""
# A canary whose book was deleted, cancelled or imported anew will never tell: what waits for it is let go.
_DROP_ORPHANS = """
    UPDATE dead_letter_actions h SET outcome = 'dropped', reason = 'its canary came to nothing', finished_at = %s
    WHERE h.outcome = 'held' AND NOT EXISTS (
        SELECT 1 FROM dead_letter_actions c JOIN dead_letters d USING (dead_letter_id) JOIN books b USING (book_id)
        WHERE c.batch_id = h.batch_id AND c.is_canary AND c.outcome IN ('waiting', 'sent')
          AND d.version = b.latest_version
          AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.book_id = d.book_id AND j.version = d.version
                          AND j.state = 'cancelled'))
"""
_SENT = """
    UPDATE dead_letter_actions a SET outcome = 'sent' FROM dead_letters d
    WHERE a.action_id = %s AND a.outcome = 'waiting' AND d.dead_letter_id = a.dead_letter_id
      AND d.state IN ('open', 'discarded')
"""
_NOT_SENT = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = %s, finished_at = %s
    WHERE action_id = %s AND outcome = %s
"""
_REDRIVEN = "UPDATE dead_letters SET state = 'redriven' WHERE dead_letter_id = %s"
_IS_UNDER_WAY = "SELECT 1 FROM jobs WHERE job_id = %s AND state IN ('pending', 'processing', 'retrying')"

# The row may be gone by retention, or be that of the group in which one chapter failed.
_BEGIN_AGAIN = """
    INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_at)
    VALUES (%(job_id)s, %(type)s, %(book_id)s, %(version)s, %(data)s, %(attempts)s, %(now)s)
    ON CONFLICT (job_id) DO UPDATE SET
        state = 'pending', data = excluded.data, attempts = 0, abandoned = 0, failures = '[]', error = NULL,
        result = NULL, finished_on = NULL, published_at = NULL, created_at = excluded.created_at,
        revision = nextval('revisions')
    WHERE jobs.state IN ('completed', 'failed')
"""
# Another letter holds a chapter back until it is redriven too.
_HELD_CHAPTERS = """
    SELECT DISTINCT c.value AS chapter_id
    FROM dead_letters d, jsonb_array_elements_text(d.payload->'chapter_ids') AS c (value)
    WHERE d.book_id = %s AND d.version = %s AND d.job_id <> %s AND d.state IN ('open', 'discarded')
"""
# What was reduced from the chapters is made anew when they are all in: fan-in makes these jobs again.
_UNDO_FAN_IN = """
    DELETE FROM jobs WHERE book_id = %s AND version = %s
      AND (type = 'book-completion' OR type = 'book-context-extraction' AND data->>'mode' = 'full')
    RETURNING job_id
"""


class PostgresDeadLetters:
    """`tolerated` is the share of chapters (0 to 1) that may fail before the book does; `max_under_way` books of one
    user may be under way at once."""

    def __init__(self, database: Database, tolerated: float, max_under_way: int) -> None:
        self._database = database
        self._tolerated = tolerated
        self._max_under_way = max_under_way

    def page(self, letters: DeadLetterFilter, after: int | None, limit: int) -> Sequence[Row]:
        with self._database.transaction() as connection:
            return connection.execute(_PAGE, _where(letters, limit) | {"after": after}).fetchall()

    def groups(self, letters: DeadLetterFilter, limit: int) -> Sequence[Row]:
        with self._database.transaction() as connection:
            return connection.execute(_GROUPS, _where(letters, limit)).fetchall()

    def actions(self, dead_letter_id: int) -> Sequence[Row]:
        with self._database.transaction() as connection:
            return connection.execute(_ACTIONS, (dead_letter_id,)).fetchall()

    def redrive(self, request: RedriveRequest, batch_id: UUID, now: datetime) -> Redrive:
        accepted: list[int] = []
        refused: list[Refusal] = []
        with self._database.transaction() as connection:
            for row in connection.execute(_TO_REDRIVE, _where(request.letters, _MAX_LETTERS)).fetchall():
                action = {"dead_letter_id": row["dead_letter_id"], "batch_id": batch_id, "action": "redrive"}
                action |= _turn(request, len(accepted), now) | {"now": now}
                reason = _refusal(row)
                if reason is None and not connection.execute(_ADD_ACTION, action).rowcount:
                    reason = "it is waiting for its turn already"
                if reason is None:
                    accepted.append(row["dead_letter_id"])
                else:
                    refused.append(Refusal(dead_letter_id=row["dead_letter_id"], reason=reason))
        return Redrive(batch_id=batch_id, accepted=accepted, refused=refused)

    def discard(self, letters: DeadLetterFilter, requested_by: str, reason: str, batch_id: UUID, now: datetime) -> int:
        done = {"batch_id": batch_id, "action": "discard", "requested_by": requested_by, "reason": reason, "now": now}
        done |= {"per_minute": None, "is_canary": False, "not_before": None, "outcome": "done", "finished_at": now}
        with self._database.transaction() as connection:
            ids = [r["dead_letter_id"] for r in connection.execute(_TO_DISCARD, _where(letters, _MAX_LETTERS))]
            # Actions before letters, as when one is sent.
            connection.execute(_CALL_OFF, {"ids": ids, "now": now})
            rows = connection.execute(_DISCARD, (ids,)).fetchall()
            for row in rows:
                connection.execute(_ADD_ACTION, done | row)
        return len(rows)

    def batch(self, owner_uid: str | None, batch_id: UUID) -> Row | None:
        with self._database.transaction() as connection:
            rows = connection.execute(_BATCH, {"owner_uid": owner_uid, "batch_id": batch_id}).fetchall()
        if not rows:
            return None
        known = {"batch_id": batch_id, "requested_at": rows[0]["requested_at"], "per_minute": rows[0]["per_minute"]}
        return known | {r["outcome"]: r["letters"] for r in rows}

    def stop(self, owner_uid: str | None, batch_id: UUID, reason: str, now: datetime) -> int:
        where = {"owner_uid": owner_uid, "batch_id": batch_id, "reason": reason, "now": now}
        with self._database.transaction() as connection:
            return connection.execute(_STOP, where).rowcount

    def release(self, now: datetime, limit: int) -> list[Job]:
        with self._database.transaction() as connection:
            connection.execute(_DROP_ORPHANS, (now,))
            due = connection.execute(_DUE, (now, limit)).fetchall()
        return [job for row in due for job in self._send(row, now)]

    def _send(self, row: Row, now: datetime) -> list[Job]:
        """Makes the job pending again, and the book whole again up to where it waits for that job."""
        job = to_job(row)
        with self._database.transaction() as connection:
            try:
                # First, since it locks the owner before the book, as an import does.
                check_limit(connection, row["owner_uid"], job.book_id, self._max_under_way)
            except TooManyBooks:
                return []  # its turn comes when another book is done
            is_latest = status_rows.lock_book(connection, job)
            if not connection.execute(_SENT, (row["action_id"],)).rowcount:
                # Unless another run was quicker: then it is that one's.
                connection.execute(_NOT_SENT, ("it is settled already", now, row["action_id"], "waiting"))
                return []
            problem = self._begin_again(connection, job, now) if is_latest else "a newer version took over"
            if problem:
                connection.execute(_NOT_SENT, (problem, now, row["action_id"], "sent"))
                return []
            if job.chapter_ids or job.is_fan_in:
                undone = [r["job_id"] for r in connection.execute(_UNDO_FAN_IN, (job.book_id, job.version))]
                add_tombstones(connection, job.book_id, [job_path(j) for j in undone], now)
            self._free_chapters(connection, job, now)
            due = status_rows.advance_book(connection, job, now, self._tolerated)
            made = add_jobs(connection, due, job.job_id, now)
            if job.is_fan_in and not made:
                # Its letter stays open, and is settled when counting makes the job and that ends well.
                connection.execute(_NOT_SENT, ("not all that it waits for is in", now, row["action_id"], "sent"))
                return []
            connection.execute(_REDRIVEN, (row["dead_letter_id"],))
            return made if job.is_fan_in else [job, *made]

    def _begin_again(self, connection: Connection, job: Job, now: datetime) -> str | None:
        """Why not, if it can't be. A fan-in's job is not begun by hand: counting makes it when it is due."""
        if status_rows.is_cancelled(connection, job):
            return "the book is cancelled; resume it first"
        if job.is_fan_in:
            is_under_way = connection.execute(_IS_UNDER_WAY, (job.job_id,)).rowcount
            return "it is being worked on already" if is_under_way else None
        row = {"job_id": job.job_id, "type": job.type, "book_id": job.book_id, "version": job.version, "now": now}
        row |= {"data": Jsonb(dict(job.data)), "attempts": job.stage.attempts}
        return None if connection.execute(_BEGIN_AGAIN, row).rowcount else "it is being worked on already"

    def _free_chapters(self, connection: Connection, job: Job, now: datetime) -> None:
        held = {
            UUID(r["chapter_id"]) for r in connection.execute(_HELD_CHAPTERS, (job.book_id, job.version, job.job_id))
        }
        free = [c for c in job.chapter_ids if c not in held]
        status_rows.set_chapters(connection, job, Status.PENDING, now, those=[Status.FAILED], chapter_ids=free)


def _where(letters: DeadLetterFilter, limit: int) -> dict[str, Any]:
    where = asdict(letters) | {"limit": limit}
    where["ids"] = None if letters.ids is None else list(letters.ids)
    return where


def _refusal(row: Row) -> str | None:
    if row["job_id"] is None:
        return "the message could not be read, so there is nothing to do again"
    if row["is_old"]:
        return "a newer version of the book took over"
    if row["is_cancelled"]:
        return "the book is cancelled; resume it first"
    if row["redrives"] >= MAX_REDRIVES:
        return f"it was redriven {MAX_REDRIVES} times; mend the cause and import it again with force, or discard it"
    return None


def _turn(request: RedriveRequest, position: int, now: datetime) -> dict[str, Any]:
    """When the letter at this position of its batch may be sent."""
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
