"""Dead letters inside the transactions that end jobs: one for each job, and the outcomes of its redrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from shared.adapters.postgres.database import Connection
from shared.domain.failures import Failure
from shared.domain.jobs import Job

# Whoever changes several locks them in this order.
LOCK_DEAD_LETTERS_OF_JOBS = """
    SELECT 1 FROM dead_letters WHERE job_id = ANY(%s) ORDER BY dead_letter_id FOR NO KEY UPDATE
"""

# One dead letter for each job, brought up to date when it fails again.
# The job's own row has the failures of all its attempts; a chapter that failed within a group has none.
UPSERT_DEAD_LETTER_OF_JOB = """
    INSERT INTO dead_letters (job_id, type, book_id, version, payload, attempts, failures, error_class, message,
                              traceback, fingerprint, is_passing, first_seen, last_seen)
    SELECT %(job_id)s, %(type)s, %(book_id)s, %(version)s, %(payload)s, coalesce(max(j.attempts), 1),
           coalesce(max(j.failures::text)::jsonb, %(failure)s), %(error_class)s, %(message)s, %(traceback)s,
           %(fingerprint)s, %(is_passing)s, %(now)s, %(now)s
    FROM jobs j WHERE j.job_id = %(job_id)s AND j.state = 'failed'
    ON CONFLICT (job_id) DO UPDATE SET
        payload = excluded.payload, version = excluded.version, attempts = excluded.attempts,
        failures = excluded.failures, error_class = excluded.error_class, message = excluded.message,
        traceback = excluded.traceback, fingerprint = excluded.fingerprint, is_passing = excluded.is_passing,
        last_seen = excluded.last_seen,
        times = dead_letters.times + 1, state = 'open'
    RETURNING dead_letter_id
"""

# One for each message, however often it is delivered.
UPSERT_DEAD_LETTER_OF_MESSAGE = """
    INSERT INTO dead_letters (type, payload, attempts, error_class, message, traceback, fingerprint, message_id,
                              first_seen, last_seen)
    VALUES (%(type)s, %(payload)s, 0, %(error_class)s, %(message)s, %(traceback)s, %(fingerprint)s, %(key)s,
            %(now)s, %(now)s)
    ON CONFLICT (message_id) DO UPDATE SET last_seen = excluded.last_seen, times = dead_letters.times + 1
"""

# A job that succeeded resolves its dead letter.
RESOLVE_DEAD_LETTER_OF_JOB = """
    UPDATE dead_letters SET state = 'resolved', resolved_at = %s WHERE job_id = %s AND state IN ('open', 'redriven')
    RETURNING dead_letter_id
"""

# The outcome of a redrive is known when its job ends.
FINISH_ACTION_THAT_WAS_SENT = """
    UPDATE dead_letter_actions SET outcome = %(outcome)s, finished_at = %(now)s
    WHERE dead_letter_id = %(dead_letter_id)s AND outcome = 'sent' RETURNING batch_id, is_canary
"""

# A canary succeeded: its batch follows, at the rate that was asked for.
RELEASE_BATCH_THAT_IS_HELD = """
    UPDATE dead_letter_actions a SET outcome = 'waiting',
        not_before = %(now)s::timestamptz + interval '1 minute' * (n.position / a.per_minute)
    FROM (SELECT action_id, row_number() OVER (ORDER BY action_id) - 1 AS position
          FROM (SELECT action_id FROM dead_letter_actions WHERE batch_id = %(batch_id)s AND outcome = 'held'
                ORDER BY action_id FOR NO KEY UPDATE) held) n
    WHERE a.action_id = n.action_id
"""

# The others of a canary that failed: they are not sent.
DROP_BATCH_THAT_IS_HELD = """
    UPDATE dead_letter_actions SET outcome = 'dropped', finished_at = %(now)s, reason = 'the canary failed'
    WHERE action_id IN (
        SELECT action_id FROM dead_letter_actions WHERE batch_id = %(batch_id)s AND outcome = 'held'
        ORDER BY action_id FOR NO KEY UPDATE)
"""


def lock(connection: Connection, job_ids: Sequence[str]) -> None:
    """Wait for the dead letters that these jobs have already."""
    if len(job_ids) > 1:
        connection.execute(LOCK_DEAD_LETTERS_OF_JOBS, (list(job_ids),))


def add(connection: Connection, job: Job, failure: Failure, now: datetime) -> None:
    """Write the dead letter of a job that failed for good; if it was redriven, that has failed too."""
    row = {"job_id": job.job_id, "type": job.type, "book_id": job.book_id, "version": job.version, "now": now}
    row |= {"payload": Jsonb(job.message), "failure": Jsonb([{"attempt": 1, "at": now.isoformat(), **failure.summary}])}
    letter = connection.execute(UPSERT_DEAD_LETTER_OF_JOB, row | vars(failure)).fetchone()
    assert letter is not None
    _finish(connection, letter["dead_letter_id"], "failed", DROP_BATCH_THAT_IS_HELD, now)


def add_unreadable(
    connection: Connection, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
) -> None:
    """Write what came instead of a message: once, with a count, however often it comes."""
    row = {"type": topic, "payload": Jsonb(dict(payload)), "key": f"{topic}/{key}", "now": now}
    connection.execute(UPSERT_DEAD_LETTER_OF_MESSAGE, row | vars(failure))


def resolve(connection: Connection, job_id: str, now: datetime, *, succeeded: bool) -> None:
    """Resolve the dead letter of a job that ended well, or (`succeeded` False) but for some chapters, if it has one."""
    letter = connection.execute(RESOLVE_DEAD_LETTER_OF_JOB, (now, job_id)).fetchone()
    if letter:
        outcome, then = ("succeeded", RELEASE_BATCH_THAT_IS_HELD) if succeeded else ("failed", DROP_BATCH_THAT_IS_HELD)
        _finish(connection, letter["dead_letter_id"], outcome, then, now)


def _finish(connection: Connection, dead_letter_id: int, outcome: str, then: str, now: datetime) -> None:
    """Write the outcome of a redrive; a canary's batch follows it."""
    where = {"dead_letter_id": dead_letter_id, "outcome": outcome, "now": now}
    action = connection.execute(FINISH_ACTION_THAT_WAS_SENT, where).fetchone()
    if action and action["is_canary"]:
        connection.execute(then, {"batch_id": action["batch_id"], "now": now})
