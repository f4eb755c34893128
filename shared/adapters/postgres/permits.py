"""Permits: jobs beyond a stage's cap wait as rows, and are published when it is their turn.

A row holds a permit from its `permitted_at` until it ends or waits again, so that no process that dies keeps one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from shared.adapters.postgres.breakers import open_breakers
from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.job_rows import IS_IMPORT, to_job
from shared.domain.breaker import Breaker
from shared.domain.jobs import Job
from shared.domain.stages import JOB_TYPES, STAGES, Dependency, JobType

# Those of these stages for which a job waits: most often none does.
SELECT_TYPES_THAT_WAIT = """
    SELECT type FROM unnest(%s::text[]) AS type
    WHERE EXISTS (SELECT 1 FROM jobs j
                  WHERE j.permitted_at IS NULL AND j.state IN ('pending', 'retrying') AND j.type = type.type)
"""

# Whoever gives permits of a stage does it alone, so that two don't give the last one both; of the other stages of its
# model too. Always in the same order.
LOCK_STAGES = """
    SELECT pg_advisory_xact_lock(hashtextextended(type, 2)) FROM (SELECT unnest(%s::text[]) AS type ORDER BY type) s
"""

# So many owners at a time are looked at, however many wait: those after the one who was given a permit last.
OWNERS_AT_ONCE = 50

# An owner's turn comes when no other that is looked at holds fewer permits of the stage; of two with as many, the next
# in the round. An owner's own books go in the order of their imports. Books that move to another embedding model come
# after all of them, whoever's. Owners are found one by one through the index: a
# user's thousand jobs cost no more than one. What another session is changing just now is skipped.
GIVE_PERMITS_THAT_ARE_FREE = f"""
    WITH RECURSIVE free AS MATERIALIZED (
        SELECT greatest(0, least(%(most)s, %(cap)s - count(*)))::int AS permits
        FROM jobs WHERE permitted_at IS NOT NULL AND type = %(type)s
    ), round AS (
        SELECT coalesce((SELECT owner_uid FROM turns WHERE type = %(type)s), '') AS owner_uid, false AS is_second,
               0 AS place
        UNION ALL
        SELECT coalesce(after.owner_uid, ''), is_second OR after.owner_uid IS NULL, place + 1
        FROM round CROSS JOIN LATERAL (
            SELECT (SELECT j.owner_uid FROM jobs j WHERE j.permitted_at IS NULL AND j.state IN ('pending', 'retrying')
                    AND j.type = %(type)s AND j.owner_uid > round.owner_uid
                    ORDER BY j.owner_uid LIMIT 1) AS owner_uid) AS after
        WHERE place <= %(owners)s AND NOT (is_second AND after.owner_uid IS NULL)
    ), owners AS (
        SELECT owner_uid, min(place) AS place FROM round WHERE place > 0 AND owner_uid <> '' GROUP BY owner_uid
    ), candidates AS (
        SELECT j.job_id, j.is_import, o.place, h.permits + j.place AS turn
        FROM free CROSS JOIN owners o CROSS JOIN LATERAL (
            SELECT count(*) AS permits FROM jobs
            WHERE permitted_at IS NOT NULL AND type = %(type)s AND owner_uid = o.owner_uid
        ) h CROSS JOIN LATERAL (
            SELECT job_id, row_number() OVER (ORDER BY imported_at, ordinal) AS place, {IS_IMPORT} AS is_import
            FROM jobs
            WHERE permitted_at IS NULL AND state IN ('pending', 'retrying') AND type = %(type)s
              AND owner_uid = o.owner_uid
            ORDER BY imported_at, ordinal LIMIT free.permits) j
        WHERE free.permits > 0
    ), next AS (
        SELECT job_id, row_number() OVER (ORDER BY is_import DESC, turn, place) AS place FROM candidates
        ORDER BY is_import DESC, turn, place LIMIT (SELECT permits FROM free)
    ), unlocked AS (
        SELECT j.job_id FROM jobs j WHERE j.job_id = ANY(ARRAY(SELECT job_id FROM next))
          AND j.permitted_at IS NULL AND j.state IN ('pending', 'retrying') FOR UPDATE SKIP LOCKED
    ), given AS (
        UPDATE jobs j SET permitted_at = %(now)s WHERE j.job_id = ANY(ARRAY(SELECT job_id FROM unlocked)) RETURNING j.*
    ), ordered AS (
        SELECT given.*, next.place AS turn FROM given JOIN next USING (job_id)
    ), noted AS (
        INSERT INTO turns (type, owner_uid) SELECT type, owner_uid FROM ordered ORDER BY turn DESC LIMIT 1
        ON CONFLICT (type) DO UPDATE SET owner_uid = excluded.owner_uid
    )
    SELECT * FROM ordered ORDER BY turn
"""

# How many ask a model that is trusted again step by step.
COUNT_PERMITS_GIVEN_SINCE = "SELECT count(*) AS permits FROM jobs WHERE type = ANY(%s) AND permitted_at >= %s"


def waiting_types(connection: Connection, types: Collection[JobType]) -> list[JobType]:
    """Those of these stages for which a job waits."""
    return [JobType(row["type"]) for row in connection.execute(SELECT_TYPES_THAT_WAIT, (list(types),))]


def give_permits(
    connection: Connection, types: Collection[JobType], caps: Mapping[JobType, int], now: datetime
) -> list[Job]:
    """Give the free permits of these stages to the jobs whose turn it is, and return those jobs in that order."""
    models = {STAGES[t].model for t in types if STAGES[t].model}
    locked = [str(t) for t in JOB_TYPES if t in types or STAGES[t].model in models]
    connection.execute(LOCK_STAGES, (locked,))
    breakers = open_breakers(connection)
    given: list[Job] = []
    for job_type in (t for t in JOB_TYPES if t in types):
        where: dict[str, Any] = {"type": job_type, "cap": caps[job_type], "owners": OWNERS_AT_ONCE, "now": now}
        where["most"] = most_permits(connection, STAGES[job_type].model, breakers, caps[job_type], now)
        given += [to_job(row) for row in connection.execute(GIVE_PERMITS_THAT_ARE_FREE, where)]
    return given


def most_permits(
    connection: Connection,
    model: Dependency | None,
    breakers: Mapping[Dependency, Breaker],
    cap: int,
    now: datetime,
) -> int:
    """How many more jobs may be published, as far as the stage's model is concerned."""
    breaker = breakers.get(model) if model else None
    if breaker is None or breaker.retry_at is None or breaker.allowed is None:
        return cap
    if now < breaker.retry_at:
        return 0
    types = [str(t) for t in JOB_TYPES if STAGES[t].model is model]
    row = connection.execute(COUNT_PERMITS_GIVEN_SINCE, (types, breaker.opened_at)).fetchone()
    return max(0, breaker.allowed - (row["permits"] if row else 0))
