"""The breakers of dependencies, as rows: all instances share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shared.adapters.postgres.database import Connection
from shared.domain.breaker import Breaker
from shared.domain.stages import STAGES, Dependency

MODEL_OF_TYPE = (
    "CASE j.type " + " ".join(f"WHEN '{t}' THEN '{s.model}'" for t, s in STAGES.items() if s.model is not None) + " END"
)
"""The dependency of a row `j` of jobs."""

# Seldom any: then there is nothing to heed.
SELECT_OPEN_BREAKERS = "SELECT * FROM dependencies WHERE opened_at IS NOT NULL"

# The first failure makes the row.
INSERT_BREAKER_UNLESS_THERE = "INSERT INTO dependencies (name) VALUES (%s) ON CONFLICT (name) DO NOTHING"

# While it is held, the rows of one book are written, and no other book is waited for.
LOCK_BREAKER = "SELECT * FROM dependencies WHERE name = %s FOR UPDATE"

# While all is well nothing is locked or written.
LOCK_BREAKER_THAT_FAILED = "SELECT * FROM dependencies WHERE name = %s AND failures > 0 FOR UPDATE"

# All of it, as the rules have it.
UPDATE_BREAKER = """
    UPDATE dependencies SET failures = %(failures)s, opened_at = %(opened_at)s, retry_at = %(retry_at)s,
        allowed = %(allowed)s
    WHERE name = %(name)s
"""


def open_breakers(connection: Connection) -> dict[Dependency, Breaker]:
    return {Dependency(row["name"]): to_breaker(row) for row in connection.execute(SELECT_OPEN_BREAKERS)}


def lock_breaker(connection: Connection, dependency: Dependency) -> Breaker:
    """Wait for the dependency's breaker, for `write_breaker`."""
    connection.execute(INSERT_BREAKER_UNLESS_THERE, (dependency,))
    row = connection.execute(LOCK_BREAKER, (dependency,)).fetchone()
    assert row is not None
    return to_breaker(row)


def lock_breaker_that_failed(connection: Connection, dependency: Dependency) -> Breaker | None:
    """Wait for the dependency's breaker; None if all is well."""
    row = connection.execute(LOCK_BREAKER_THAT_FAILED, (dependency,)).fetchone()
    return to_breaker(row) if row else None


def write_breaker(connection: Connection, dependency: Dependency, breaker: Breaker) -> None:
    connection.execute(UPDATE_BREAKER, asdict(breaker) | {"name": dependency})


def to_breaker(row: Mapping[str, Any]) -> Breaker:
    """From a row with its columns."""
    return Breaker(
        failures=row["failures"], opened_at=row["opened_at"], retry_at=row["retry_at"], allowed=row["allowed"]
    )
