"""Renews leases, on a connection that nothing else of the process waits for or holds up."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.sessions import SessionLimits
from shared.domain.stages import HEARTBEAT_SECONDS, LEASE_SECONDS

LEASE_UNTIL = f"clock_timestamp() + interval '{LEASE_SECONDS} seconds'"
"""When a lease runs out that is given or renewed as the statement writes, by the clock that all processes share."""

# A lease that expired meanwhile is prolonged too, as long as nobody else has claimed the job.
#
# A row that is locked is passed over, so that it delays no other's renewal. Most often its own attempt is committing:
# then the lease ends with the job, or, if the commit is rolled back, the next heartbeat renews it. Whoever holds the
# row, nobody can claim the job without it, however long ago the lease ran out.
PROLONG_LEASES_OF_TOKENS_THAT_ARE_FREE = f"""
    UPDATE jobs SET lease_until = {LEASE_UNTIL} WHERE job_id IN (
        SELECT job_id FROM jobs WHERE lease = ANY(%s) AND state = 'processing'
        FOR NO KEY UPDATE SKIP LOCKED)
"""

# What takes longer than the time to the next heartbeat is left to that.
_LIMITS = SessionLimits(lock=HEARTBEAT_SECONDS, statement=HEARTBEAT_SECONDS)


class PostgresLeases:
    def __init__(self, database: Database) -> None:
        self._database = database.apart(1, _LIMITS)

    def renew(self, fencing_tokens: Sequence[UUID]) -> None:
        with self._database.statements() as connection:
            connection.execute(PROLONG_LEASES_OF_TOKENS_THAT_ARE_FREE, (list(fencing_tokens),))

    def close(self) -> None:
        self._database.close()
