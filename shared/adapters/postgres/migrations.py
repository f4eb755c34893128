"""Applies the numbered SQL files, each once, in order; safe to run twice and by two at once."""

from __future__ import annotations

from pathlib import Path

import psycopg

from shared.domain.errors import Unavailable

_LOCK = 0x62696E64  # any fixed number: one migrator at a time for each database

# What was applied.
CREATE_TABLE_OF_MIGRATIONS = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())
"""


def migrate(dsn: str, folder: Path) -> list[str]:
    """Apply what is missing and return the names of the files applied. Raises Unavailable.

    All in one transaction: a file that fails leaves nothing behind.
    """
    applied = []
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            connection.execute(CREATE_TABLE_OF_MIGRATIONS)
            done = {row[0] for row in connection.execute("SELECT name FROM schema_migrations")}
            for file in sorted(folder.glob("[0-9]*.sql")):
                if file.name not in done:
                    connection.execute(file.read_bytes())
                    connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (file.name,))
                    applied.append(file.name)
    except psycopg.OperationalError as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
    return applied
