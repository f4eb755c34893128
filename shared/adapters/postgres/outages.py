"""What attempts that find a model away, or answering again, write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from shared.adapters.postgres.breakers import lock_breaker, lock_breaker_that_failed, write_breaker
from shared.adapters.postgres.database import Connection
from shared.domain.books import Status
from shared.domain.errors import LeaseLost
from shared.domain.failures import Failure
from shared.domain.stages import Dependency
from shared.ports import Claimed, Outage

# As if it had not been tried.
UNDO_ATTEMPT_IF_TOKEN_IS_CURRENT = """
    UPDATE jobs SET state = %(state)s, lease = NULL, lease_until = NULL, attempts = attempts - 1,
        permitted_at = %(permitted_at)s, next_attempt_at = %(next_attempt_at)s, error = %(error)s,
        unavailable_since = coalesce(unavailable_since, %(now)s), revision = nextval('revisions')
    WHERE job_id = %(job_id)s AND lease = %(fencing_token)s RETURNING *
"""


def note_answer(connection: Connection, claim: Claimed) -> None:
    """An attempt at a stage with a model has succeeded: the model answers."""
    model = claim.job.stage.model
    if model and (breaker := lock_breaker_that_failed(connection, model)):
        write_breaker(connection, model, breaker.answered(claim.began))


def note_outage(
    connection: Connection, claim: Claimed, model: Dependency, outage: Outage, now: datetime
) -> datetime | None:
    """When the job is to be delivered again; None if it is to wait as a row until its stage goes on.

    Whoever opens the breaker, or finds that the model is still away, is the one who asks again.
    """
    before = lock_breaker(connection, model)
    breaker = before.failed(claim.began, now, outage.retry_after, outage.calls)
    write_breaker(connection, model, breaker)
    if breaker.opened_at is None:
        return outage.until
    return breaker.retry_at if breaker.opened_at == now else None


def undo_attempt(
    connection: Connection, claim: Claimed, failure: Failure, until: datetime | None, now: datetime
) -> Mapping[str, Any]:
    """End the attempt as if it had not been; the next may begin at `until`, or (None) when it is given a permit.

    Returns the job's row. Raises LeaseLost.
    """
    row = {
        "job_id": claim.job.job_id,
        "fencing_token": claim.fencing_token,
        "state": Status.RETRYING if until else Status.PENDING,
        "permitted_at": now if until else None,
        "next_attempt_at": until,
        "error": Jsonb(failure.summary),
        "now": now,
    }
    undone = connection.execute(UNDO_ATTEMPT_IF_TOKEN_IS_CURRENT, row).fetchone()
    if undone is None:
        raise LeaseLost(claim.job.job_id)
    return undone
