"""Epochs of revisions: a database that is restored goes back, and its live documents don't."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.projections import HAS_A_DOCUMENT

# A revision is a number that only rises: the epoch in its high bits, counted on from there. An epoch is named by the
# seconds since 2025, since what the database remembers of earlier ones goes back with it. So no revision of an earlier
# epoch is as high, as long as less than 4 million a second are given; and JavaScript's numbers hold them until 2093.
_EPOCHS_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
_REVISIONS_A_SECOND = 2**22

# Above all that were given, after the moment to which it was restored too.
BEGIN_EPOCH = "SELECT setval('revisions', greatest(last_value + 1, %s)) AS revision FROM revisions"

# What it would give next is higher.
SELECT_LAST_REVISION = "SELECT last_value AS revision FROM revisions"

# Noted when all documents are marked to be written, and not before: the others are deleted.
INSERT_RESTORE = "INSERT INTO restores (first_revision, requested_by, restored_at) VALUES (%s, %s, %s)"

# A document that was marked has no revision below 0 from when it was written. Those of chapters may be marked just when
# their book's next version is split: it takes them over, and nobody writes them.
SELECT_RESTORE_WHOSE_DOCUMENTS_ARE_WRITTEN = f"""
    SELECT max(first_revision) AS revision FROM restores WHERE finished_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM processing_status s
                      WHERE projected_revision < revision AND projected_revision < 0 AND {HAS_A_DOCUMENT})
      AND NOT EXISTS (SELECT 1 FROM jobs WHERE projected_revision < revision AND projected_revision < 0)
"""

# Earlier ones too: their documents are older still.
FINISH_RESTORES_UP_TO = """
    UPDATE restores SET finished_at = %s WHERE first_revision IN (
        SELECT first_revision FROM restores WHERE first_revision <= %s AND finished_at IS NULL
        ORDER BY first_revision FOR NO KEY UPDATE)
"""

# Seldom any.
SELECT_WHETHER_ANY_IS_UNFINISHED = "SELECT EXISTS (SELECT 1 FROM restores WHERE finished_at IS NULL) AS any"


class PostgresRestores:
    def __init__(self, database: Database) -> None:
        self._database = database

    def begin_epoch(self, now: datetime, newest_document: int) -> int:
        seconds = int((now - _EPOCHS_BEGAN).total_seconds())
        # The clock may be behind that of the restore before.
        lowest = max(seconds * _REVISIONS_A_SECOND, newest_document + _REVISIONS_A_SECOND)
        return self._one(BEGIN_EPOCH, lowest) or 0

    def last_revision(self) -> int:
        return self._one(SELECT_LAST_REVISION) or 0

    def note(self, first_revision: int, requested_by: str, now: datetime) -> None:
        with self._database.statements() as connection:
            connection.execute(INSERT_RESTORE, (first_revision, requested_by, now))

    def written(self) -> int | None:
        return self._one(SELECT_RESTORE_WHOSE_DOCUMENTS_ARE_WRITTEN)

    def finish(self, first_revision: int, now: datetime) -> None:
        with self._database.statements() as connection:
            connection.execute(FINISH_RESTORES_UP_TO, (now, first_revision))

    def is_unfinished(self) -> bool:
        with self._database.statements() as connection:
            row = connection.execute(SELECT_WHETHER_ANY_IS_UNFINISHED).fetchone()
        return bool(row and row["any"])

    def _one(self, statement: str, *values: int) -> int | None:
        with self._database.statements() as connection:
            row = connection.execute(statement, values).fetchone()
        return row["revision"] if row else None
