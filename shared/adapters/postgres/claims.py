"""Claims jobs: a lease and a fencing token for one attempt, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from shared.adapters.postgres import status_rows
from shared.adapters.postgres.breakers import MODEL_OF_TYPE, to_breaker
from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.job_rows import CANCELLED, WAITS_AGAIN, to_job
from shared.adapters.postgres.leases import LEASE_UNTIL
from shared.adapters.postgres.locks import lock_book
from shared.domain.books import Status
from shared.domain.breaker import Breaker
from shared.domain.jobs import Job
from shared.domain.stages import MAX_LEASE_EXPIRATIONS
from shared.ports import Claim, Claimed, NotClaimed

# A claim looks first without a lock: most deliveries of an ended job end here.
SELECT_JOB = f"""
    SELECT j.*, j.lease_until > clock_timestamp() AS is_leased, b.latest_version, d.failures AS model_failures,
           d.opened_at, d.retry_at, d.allowed
    FROM jobs j JOIN books b USING (book_id) LEFT JOIN dependencies d ON d.name = {MODEL_OF_TYPE} WHERE job_id = %s
"""
# Then with one, to change it.
LOCK_JOB = f"{SELECT_JOB} FOR UPDATE OF j"

# Receipts of replays count them.
INSERT_DELIVERY = "INSERT INTO deliveries (job_id, type, at, state) VALUES (%s, %s, %s, %s)"

# The lease begins now that no lock is waited for any more. An expired one is the same attempt again: expirations are
# counted separately.
START_ATTEMPT = f"""
    UPDATE jobs SET state = 'processing', lease = %(fencing_token)s, lease_until = {LEASE_UNTIL},
        attempts = CASE WHEN state = 'processing' THEN attempts ELSE attempts + 1 END,
        abandoned = CASE WHEN state = 'processing' THEN abandoned + 1 ELSE abandoned END,
        failures = CASE WHEN state = 'processing' THEN failures || %(expiration)s ELSE failures END,
        next_attempt_at = NULL, processed_on = %(now)s, revision = nextval('revisions')
    WHERE job_id = %(job_id)s RETURNING attempts, abandoned AS expirations, unavailable_since
"""

# Its stage was paused after it was published: it waits again.
GIVE_PERMIT_BACK = f"UPDATE jobs SET {WAITS_AGAIN} WHERE job_id = %s"

# A newer version took over: nobody works on it any more.
CANCEL_JOB_UNLESS_ENDED = f"""
    UPDATE jobs SET {CANCELLED}
    WHERE job_id = %(job_id)s AND state NOT IN ('completed', 'failed', 'cancelled')
"""

LEASE_EXPIRED = {"error_class": "LeaseExpired", "message": "its process died, or did not renew its lease in time"}


def claim(connection: Connection, job_id: str, now: datetime, tolerated: float) -> Claim:
    """Take the job for one attempt, or say why not; and note the delivery."""
    row = connection.execute(SELECT_JOB, (job_id,)).fetchone()
    if row is None:
        return NotClaimed.STALE
    job = to_job(row)
    if reason_against_claim(row, now) in (None, NotClaimed.STALE, NotClaimed.PAUSED):
        # These write: decided again, now under the lock.
        lock_book(connection, job.book_version)
        row = connection.execute(LOCK_JOB, (job_id,)).fetchone()
    claim = _take(connection, job, row, now, tolerated)
    state = claim if isinstance(claim, NotClaimed) else "claimed"
    connection.execute(INSERT_DELIVERY, (job_id, job.type, now, state))
    return claim


def _take(connection: Connection, job: Job, row: Mapping[str, Any] | None, now: datetime, tolerated: float) -> Claim:
    reason = reason_against_claim(row, now) if row else NotClaimed.STALE
    if reason is NotClaimed.STALE:
        connection.execute(CANCEL_JOB_UNLESS_ENDED, {"job_id": job.job_id, "now": now})
    elif reason is NotClaimed.PAUSED:
        connection.execute(GIVE_PERMIT_BACK, (job.job_id,))
        status_rows.update_chapters(connection, job.chapter_ids, now, Status.PENDING)
        status_rows.advance_book(connection, job.book_version, now, tolerated)
    return reason or _begin(connection, job, now, tolerated)


def _begin(connection: Connection, job: Job, now: datetime, tolerated: float) -> Claimed:
    fencing_token = uuid4()
    begun = {"job_id": job.job_id, "fencing_token": fencing_token, "now": now}
    begun["expiration"] = Jsonb([{"at": now.isoformat(), **LEASE_EXPIRED}])
    counts = connection.execute(START_ATTEMPT, begun).fetchone()
    assert counts is not None
    status_rows.update_chapters(connection, job.chapter_ids, now, attempt=counts["attempts"])
    if not (job.chapter_ids and status_rows.is_processing(connection, job.book_version)):
        # Else it tells nothing new, and counting the chapters is what a long book's claims would cost.
        status_rows.advance_book(connection, job.book_version, now, tolerated)
    return Claimed(
        job=job,
        attempt=counts["attempts"],
        fencing_token=fencing_token,
        began=now,
        exhausted=counts["expirations"] >= MAX_LEASE_EXPIRATIONS,
        unavailable_since=counts["unavailable_since"],
    )


def reason_against_claim(row: Mapping[str, Any], now: datetime) -> NotClaimed | None:
    """Why the job of this row (with its book's `latest_version`) can't be claimed now; None if it can."""
    state = Status(row["state"])
    if state in (Status.COMPLETED, Status.FAILED):
        return NotClaimed.DONE
    if state is Status.CANCELLED or row["version"] < row["latest_version"]:
        return NotClaimed.STALE
    if row["permitted_at"] is None:
        return NotClaimed.WAITING
    if state is Status.PROCESSING and row["is_leased"]:
        return NotClaimed.BUSY
    if state is Status.RETRYING and row["next_attempt_at"] > now:
        return NotClaimed.BUSY
    if state is not Status.PROCESSING and _breaker_of(row).is_paused(row["permitted_at"], now):
        return NotClaimed.PAUSED
    return None


def _breaker_of(row: Mapping[str, Any]) -> Breaker:
    return to_breaker({**row, "failures": row["model_failures"] or 0})
