"""Dead letters inside the transactions that end jobs: one for each job, and what comes of its redrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from shared.adapters.postgres.database import Connection
from shared.domain.failures import Failure
from shared.domain.jobs import Job

# The job's own row has the failures of all its attempts; a chapter that failed within a group has none.
_ADD = """
    INSERT INTO dead_letters (job_id, type, book_id, version, payload, attempts, failures, error_class, message,
                              traceback, fingerprint, first_seen, last_seen)
    SELECT %(job_id)s, %(type)s, %(book_id)s, %(version)s, %(payload)s, coalesce(max(j.attempts), 1),
           coalesce(max(j.failures::text)::jsonb, %(failure)s), %(error_class)s, %(message)s, %(traceback)s,
           %(fingerprint)s, %(now)s, %(now)s
    FROM jobs j WHERE j.job_id = %(job_id)s AND j.state = 'failed'
    ON CONFLICT (job_id) DO UPDATE SET
        payload = excluded.payload, version = excluded.version, attempts = excluded.attempts,
        failures = excluded.failures, error_class = excluded.error_class, message = excluded.message,
        traceback = excluded.traceback, fingerprint = excluded.fingerprint, last_seen = excluded.last_seen,
        times = dead_letters.times + 1, state = 'open'
    RETURNING dead_letter_id
"""

_ADD_UNREADABLE = """
    INSERT INTO dead_letters (type, payload, attempts, error_class, message, traceback, fingerprint, message_id,
                              first_seen, last_seen)
    VALUES (%(type)s, %(payload)s, 0, %(error_class)s, %(message)s, %(traceback)s, %(fingerprint)s, %(key)s,
            %(now)s, %(now)s)
    ON CONFLICT (message_id) DO UPDATE SET last_seen = excluded.last_seen, times = dead_letters.times + 1
"""

_RESOLVE = """
    UPDATE dead_letters SET state = 'resolved' WHERE job_id = %s AND state IN ('open', 'redriven')
    RETURNING dead_letter_id
"""

_FINISH = """
    UPDATE dead_letter_actions SET outcome = %(outcome)s, finished_at = %(now)s
    WHERE dead_letter_id = %(dead_letter_id)s AND outcome = 'sent' RETURNING batch_id, is_canary
"""

_LET_GO = """
    UPDATE dead_letter_actions a SET outcome = 'waiting',
        not_before = %(now)s::timestamptz + interval '1 minute' * (n.position / a.per_minute)
    FROM (SELECT action_id, row_number() OVER (ORDER BY action_id) - 1 AS position
          FROM dead_letter_actions WHERE batch_id = %(batch_id)s AND outcome = 'held') n
    WHERE a.action_id = n.action_id
"""
_DROP = """
    UPDATE dead_letter_actions SET outcome = 'dropped', finished_at = %(now)s, reason = 'the canary failed'
    WHERE batch_id = %(batch_id)s AND outcome = 'held'
"""


def add(connection: Connection, job: Job, failure: Failure, now: datetime) -> None:
    """Keeps a job that failed for good; if it was redriven, that has failed too."""
    row = {"job_id": job.job_id, "type": job.type, "book_id": job.book_id, "version": job.version, "now": now}
    row |= {"payload": Jsonb(job.message), "failure": Jsonb([{"attempt": 1, "at": now.isoformat(), **failure.summary}])}
    letter = connection.execute(_ADD, row | vars(failure)).fetchone()
    assert letter is not None
    _finish(connection, letter["dead_letter_id"], "failed", _DROP, now)


def add_unreadable(
    connection: Connection, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
) -> None:
    """Keeps what came instead of a message: once, with a count, however often it comes."""
    row = {"type": topic, "payload": Jsonb(dict(payload)), "key": f"{topic}/{key}", "now": now}
    connection.execute(_ADD_UNREADABLE, row | vars(failure))


def resolve(connection: Connection, job_id: str, now: datetime, *, succeeded: bool) -> None:
    """The job has ended well, or (`succeeded` False) but for some chapters: its letter, if it has one, is settled."""
    letter = connection.execute(_RESOLVE, (job_id,)).fetchone()
    if letter:
        outcome, then = ("succeeded", _LET_GO) if succeeded else ("failed", _DROP)
        _finish(connection, letter["dead_letter_id"], outcome, then, now)


def _finish(connection: Connection, dead_letter_id: int, outcome: str, then: str, now: datetime) -> None:
    """Notes what came of a redrive; a canary's batch follows it."""
    where = {"dead_letter_id": dead_letter_id, "outcome": outcome, "now": now}
    action = connection.execute(_FINISH, where).fetchone()
    if action and action["is_canary"]:
        connection.execute(then, {"batch_id": action["batch_id"], "now": now})
