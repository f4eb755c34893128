"""The local stack's database: started, migrated, and freed of what a stack before it left under way."""

from __future__ import annotations

from pathlib import Path

import psycopg

from infra.local.postgres import Postgres
from infra.local.processes import OnLine
from shared.adapters.postgres.migrations import migrate

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"

# The stack before this one is gone, with its leases, its messages and its live documents.
_LEFT_BEHIND = """
    UPDATE jobs SET lease_until = now() - interval '1 second', published_at = '-infinity'
    WHERE state IN ('pending', 'processing', 'retrying');
    UPDATE processing_status SET projected_revision = 0, projected_at = NULL, updated_at = '2000-01-01'
    WHERE entity_type = 'book';
"""


def start_database(folder: Path, on_line: OnLine) -> Postgres:
    """Raises AlreadyRunning, StartFailed."""
    settings = {"shared_buffers": "64MB", "max_connections": "60", "synchronous_commit": "off"}
    postgres = Postgres(folder, settings=settings, on_line=on_line)
    try:
        migrate(postgres.dsn, MIGRATIONS)
        with psycopg.connect(postgres.dsn) as connection:
            connection.execute(_LEFT_BEHIND)
    except BaseException:
        postgres.close()
        raise
    return postgres
