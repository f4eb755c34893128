"""The dead letters as operators and owners see and discard them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.job_rows import to_job
from shared.adapters.postgres.locks import lock_book
from shared.adapters.postgres.status_rows import update_error
from shared.domain.dead_letters import DeadLetterFilter, Discarded
from shared.domain.jobs import Job

Row = Mapping[str, Any]

MAX_CHOSEN = 10_000

# Every list begins with it: an owner sees the dead letters of their own books alone; NULL narrows nothing.
THAT_ARE_CHOSEN = """
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

# Pages by key: ids only grow.
SELECT_PAGE_OF_DEAD_LETTERS = f"""
    SELECT d.* {THAT_ARE_CHOSEN} AND (%(after)s::bigint IS NULL OR d.dead_letter_id < %(after)s)
    ORDER BY d.dead_letter_id DESC LIMIT %(limit)s
"""

# Most outages show as one large group.
COUNT_DEAD_LETTERS_BY_CAUSE = f"""
    SELECT d.fingerprint, d.type, d.error_class, min(d.message) AS message, count(*) AS dead_letters,
           count(DISTINCT d.book_id) AS books, min(d.first_seen) AS first_seen, max(d.last_seen) AS last_seen
    {THAT_ARE_CHOSEN} GROUP BY d.fingerprint, d.type, d.error_class
    ORDER BY dead_letters DESC, last_seen DESC LIMIT %(limit)s
"""

# Its audit.
SELECT_ACTIONS_OF_DEAD_LETTER = """
    SELECT batch_id, action, requested_by, requested_at, reason, is_canary, outcome, finished_at
    FROM dead_letter_actions WHERE dead_letter_id = %s ORDER BY action_id
"""

# Two who redrive one dead letter at once do it once.
INSERT_ACTION_UNLESS_ONE_WAITS = """
    INSERT INTO dead_letter_actions (dead_letter_id, batch_id, action, requested_by, requested_at, reason, per_minute,
                                     is_canary, not_before, outcome, finished_at)
    VALUES (%(dead_letter_id)s, %(batch_id)s, %(action)s, %(requested_by)s, %(now)s, %(reason)s, %(per_minute)s,
            %(is_canary)s, %(not_before)s, %(outcome)s, %(finished_at)s)
    ON CONFLICT (dead_letter_id) WHERE outcome IN ('held', 'waiting') DO NOTHING
"""

# What is redriven already can't be discarded.
LOCK_OPEN_DEAD_LETTERS = f"""
    SELECT d.dead_letter_id {THAT_ARE_CHOSEN} AND d.state = 'open'
    ORDER BY d.dead_letter_id LIMIT %(limit)s FOR NO KEY UPDATE OF d
"""

# Under that lock.
DISCARD_DEAD_LETTERS = """
    UPDATE dead_letters SET state = 'discarded' WHERE dead_letter_id = ANY(%s)
    RETURNING dead_letter_id, job_id, type, book_id, version,
              payload - 'job_id' - 'book_id' - 'version' AS data
"""

# What is discarded is not sent.
DROP_ACTIONS_THAT_WAIT_FOR_DISCARDED = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = 'the dead letter was discarded', finished_at = %(now)s
    WHERE action_id IN (
        SELECT action_id FROM dead_letter_actions WHERE dead_letter_id = ANY(%(ids)s) AND outcome IN ('held', 'waiting')
        ORDER BY action_id FOR NO KEY UPDATE)
"""


class PostgresDeadLetters:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, chosen: DeadLetterFilter, after: int | None, limit: int) -> Sequence[Row]:
        where = filter_values(chosen, limit) | {"after": after}
        with self._database.statements() as connection:
            return connection.execute(SELECT_PAGE_OF_DEAD_LETTERS, where).fetchall()

    def groups(self, chosen: DeadLetterFilter, limit: int) -> Sequence[Row]:
        with self._database.statements() as connection:
            return connection.execute(COUNT_DEAD_LETTERS_BY_CAUSE, filter_values(chosen, limit)).fetchall()

    def actions(self, dead_letter_id: int) -> Sequence[Row]:
        with self._database.statements() as connection:
            return connection.execute(SELECT_ACTIONS_OF_DEAD_LETTER, (dead_letter_id,)).fetchall()

    def discard(
        self, chosen: DeadLetterFilter, requested_by: str, reason: str, batch_id: UUID, now: datetime
    ) -> Discarded:
        done = {"batch_id": batch_id, "action": "discard", "requested_by": requested_by, "reason": reason, "now": now}
        done |= {"per_minute": None, "is_canary": False, "not_before": None, "outcome": "done", "finished_at": now}
        with self._database.transaction() as connection:
            found = connection.execute(LOCK_OPEN_DEAD_LETTERS, filter_values(chosen, MAX_CHOSEN))
            ids = [r["dead_letter_id"] for r in found]
            rows = connection.execute(DISCARD_DEAD_LETTERS, (ids,)).fetchall()
            connection.execute(DROP_ACTIONS_THAT_WAIT_FOR_DISCARDED, {"ids": ids, "now": now})
            for row in rows:
                connection.execute(INSERT_ACTION_UNLESS_ONE_WAITS, done | {"dead_letter_id": row["dead_letter_id"]})
        jobs = [to_job(r) for r in rows if r["job_id"]]
        self._update_errors(jobs, now)
        return Discarded(dead_letters=len(rows), jobs=jobs)

    def _update_errors(self, jobs: Sequence[Job], now: datetime) -> None:
        """Say in the books' errors that their causes were discarded: a transaction each, as a book is locked first."""
        for version in dict.fromkeys(job.book_version for job in jobs):
            with self._database.transaction() as connection:
                if lock_book(connection, version):
                    update_error(connection, version, now)


def filter_values(chosen: DeadLetterFilter, limit: int) -> dict[str, Any]:
    """The parameters of THAT_ARE_CHOSEN, and `limit`."""
    values = asdict(chosen) | {"limit": limit}
    values["ids"] = None if chosen.ids is None else list(chosen.ids)
    return values
