"""The local stack's database: started, migrated, and freed of what a stack before it left under way."""

from __future__ import annotations

from pathlib import Path

import psycopg

from infra.local.postgres import Postgres
from infra.local.processes import OnLine
from shared.adapters.postgres.migrations import migrate

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"

# Not '-infinity', which no client can read; long ago, so that `reconcile` need not see whether they stay silent.
_END_LEASES = """
    UPDATE jobs SET lease_until = '2000-01-01' WHERE state = 'processing'
"""
# As if they had not been published: `reconcile` does it.
_TAKE_BACK_PERMITS = "UPDATE jobs SET permitted_at = NULL WHERE state IN ('pending', 'retrying')"
# Silent for so long that `reconcile` publishes them again.
_PUBLISH_JOBS_WHOSE_LEASE_ENDS = "UPDATE jobs SET published_at = '2000-01-01' WHERE state = 'processing'"
# Behind their rows, so that `reconcile` writes them.
_PROJECT_BOOKS_AND_CHAPTERS = "UPDATE processing_status SET projected_revision = -1, projected_at = NULL"
_PROJECT_JOBS = "UPDATE jobs SET projected_revision = -1"


def publish_again(dsn: str) -> None:
    """The broker lost its messages: `reconcile` will send them all."""
    _execute(dsn, _TAKE_BACK_PERMITS, _PUBLISH_JOBS_WHOSE_LEASE_ENDS)


def project_again(dsn: str) -> None:
    """The live documents are gone: `reconcile` will write them all."""
    _execute(dsn, _PROJECT_BOOKS_AND_CHAPTERS, _PROJECT_JOBS)


def take_over(dsn: str) -> None:
    """The stack before this one is gone, with its leases, its messages and its live documents."""
    publish_again(dsn)
    _execute(dsn, _END_LEASES, _PROJECT_BOOKS_AND_CHAPTERS, _PROJECT_JOBS)


def _execute(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn) as connection:
        for statement in statements:
            connection.execute(statement)


def start_database(folder: Path, on_line: OnLine) -> Postgres:
    """Raises AlreadyRunning, StartFailed."""
    settings = {"shared_buffers": "64MB", "max_connections": "60"}
    postgres = Postgres(folder, settings=settings, on_line=on_line)
    try:
        migrate(postgres.dsn, MIGRATIONS)
        take_over(postgres.dsn)
    except BaseException:
        postgres.close()
        raise
    return postgres
