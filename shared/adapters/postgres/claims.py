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
from shared.adapters.postgres.documents import DOCUMENT_IS_DUE, job_document
from shared.adapters.postgres.job_rows import CANCELLED, WAITS_AGAIN, to_job
from shared.adapters.postgres.leases import LEASE_UNTIL
from shared.adapters.postgres.locks import lock_book
from shared.domain.books import Status
from shared.domain.breaker import Breaker
from shared.domain.error_codes import LEASE_EXPIRED
from shared.domain.stages import MAX_LEASE_EXPIRATIONS
from shared.ports import Change, Claim, Claimed, NotClaimed

# A claim looks without a lock: most deliveries of an ended job end here.
SELECT_JOB = f"""
    SELECT j.*, j.lease_until > clock_timestamp() AS is_leased, b.latest_version, d.failures AS model_failures,
           d.opened_at, d.retry_at, d.allowed, {DOCUMENT_IS_DUE} AS book_is_due
    FROM jobs j JOIN books b USING (book_id)
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    LEFT JOIN dependencies d ON d.name = {MODEL_OF_TYPE}
    WHERE job_id = %(job_id)s
"""

# Then it locks what it changes, in the order of `locks.py`, which is that of the clauses; if the job is still as it
# was: a heartbeat changes nothing but the lease. Otherwise somebody was quicker.
LOCK_BOOK_AND_JOB_AS_IT_WAS = """
    SELECT s.status FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    JOIN jobs j ON j.book_id = b.book_id AND j.version = s.version
    WHERE b.book_id = %(book_id)s AND j.job_id = %(job_id)s AND j.revision = %(revision)s
      AND j.lease_until IS NOT DISTINCT FROM %(lease_until)s
    FOR KEY SHARE OF b FOR UPDATE OF s FOR UPDATE OF j
"""

# For what is done under that lock: the model's breaker is still as it was, too.
BREAKER_IS_AS_IT_WAS = f"""
    (SELECT d.opened_at FROM dependencies d WHERE d.name = {MODEL_OF_TYPE}) IS NOT DISTINCT FROM %(opened_at)s
"""

# Receipts of replays count them.
INSERT_DELIVERY = "INSERT INTO deliveries (job_id, type, at, state) VALUES (%s, %s, %s, %s)"

# The lease begins now that no lock is waited for any more. An expired one is the same attempt again: expirations are
# counted separately. The book shows that its chapters are under way.
START_ATTEMPT = f"""
    WITH started AS (
        UPDATE jobs j SET state = 'processing', lease = %(fencing_token)s, lease_until = {LEASE_UNTIL},
            attempts = CASE WHEN state = 'processing' THEN attempts ELSE attempts + 1 END,
            abandoned = CASE WHEN state = 'processing' THEN abandoned + 1 ELSE abandoned END,
            failures = CASE WHEN state = 'processing' THEN failures || %(expiration)s ELSE failures END,
            next_attempt_at = NULL, processed_on = %(now)s, revision = nextval('revisions')
        WHERE job_id = %(job_id)s AND {BREAKER_IS_AS_IT_WAS} RETURNING *
    ), delivered AS (
        INSERT INTO deliveries (job_id, type, at, state) SELECT job_id, type, %(now)s, 'claimed' FROM started
    ), shown AS (
        UPDATE processing_status s SET updated_at = %(now)s, revision = nextval('revisions') FROM started
        WHERE s.entity_type = 'book' AND s.entity_id = started.book_id
    )
    SELECT * FROM started
"""

# Its stage was paused after it was published: it waits again.
GIVE_PERMIT_BACK = f"UPDATE jobs j SET {WAITS_AGAIN} WHERE job_id = %(job_id)s AND {BREAKER_IS_AS_IT_WAS}"

# A newer version took over: nobody works on it any more.
CANCEL_JOB_UNLESS_ENDED = f"""
    UPDATE jobs SET {CANCELLED}
    WHERE job_id = %(job_id)s AND state NOT IN ('completed', 'failed', 'cancelled')
"""

_LEASE_EXPIRED = {"error_class": LEASE_EXPIRED, "message": "its process died, or did not renew its lease in time"}


def claim(connection: Connection, job_id: str, now: datetime, tolerated: float) -> Claim:
    """Take the job for one attempt, or say why not; and note the delivery."""
    row = connection.execute(SELECT_JOB, {"job_id": job_id, "now": now}).fetchone()
    if row is None:
        return NotClaimed.STALE
    reason = reason_against_claim(row, now)
    claim = reason if reason not in (None, NotClaimed.PAUSED) else _take(connection, row, reason, now, tolerated)
    if reason is NotClaimed.STALE and not lock_book(connection, to_job(row).book_version):
        connection.execute(CANCEL_JOB_UNLESS_ENDED, {"job_id": job_id, "now": now})
    if isinstance(claim, NotClaimed):
        connection.execute(INSERT_DELIVERY, (job_id, row["type"], now, claim))
    return claim


def _take(
    connection: Connection, row: Mapping[str, Any], reason: NotClaimed | None, now: datetime, tolerated: float
) -> Claim:
    """Begin an attempt, or give the permit of a stage that is paused back, if all is still as in this row."""
    shown = connection.execute(LOCK_BOOK_AND_JOB_AS_IT_WAS, row).fetchone()
    if shown is None:
        return NotClaimed.BUSY
    if reason is None:
        return _begin(connection, row, Status(shown["status"]), now, tolerated)
    if not connection.execute(GIVE_PERMIT_BACK, row).rowcount:
        return NotClaimed.BUSY
    job = to_job(row)
    status_rows.update_chapters(connection, job.chapter_ids, now, Status.PENDING)
    status_rows.advance_book(connection, job.book_version, now, tolerated)
    return reason


def _begin(connection: Connection, row: Mapping[str, Any], shown: Status, now: datetime, tolerated: float) -> Claim:
    """Begin an attempt at the job of this row, whose book shows that status."""
    job, fencing_token = to_job(row), uuid4()
    expiration = Jsonb([{"at": now.isoformat(), **_LEASE_EXPIRED}])
    begun = {"job_id": job.job_id, "fencing_token": fencing_token, "now": now, "expiration": expiration}
    started = connection.execute(START_ATTEMPT, begun | {"opened_at": row["opened_at"]}).fetchone()
    if started is None:
        return NotClaimed.BUSY
    chapters = status_rows.update_chapters(connection, job.chapter_ids, now, attempt=started["attempts"])
    book_is_due = row["book_is_due"]
    if not job.chapter_ids or shown is not Status.PROCESSING:
        # Else it tells nothing new, and counting the chapters is what a long book's claims would cost.
        book_is_due = status_rows.advance_book(connection, job.book_version, now, tolerated).document_is_due
    return Claimed(
        job=job,
        attempt=started["attempts"],
        fencing_token=fencing_token,
        began=now,
        exhausted=started["abandoned"] >= MAX_LEASE_EXPIRATIONS,
        unavailable_since=started["unavailable_since"],
        change=Change(documents=[job_document(started), *chapters], book_is_due=book_is_due),
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
