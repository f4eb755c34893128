"""Where books stand that wait for their first permit: what their owners are shown."""

from __future__ import annotations

from uuid import UUID

from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.job_rows import IS_IMPORT

SHOWN_STATUS = "CASE WHEN s.status = 'pending' AND s.queue_position IS NOT NULL THEN 'queued' ELSE s.status END"
"""The status of a row `s` as users see it."""

# Further back nobody needs to know it to the book.
LAST_POSITION = 1_000

# Round after round, as turns are taken: each owner's first, then each owner's second, and imports before what nobody
# imported. A row that is being changed is
# about to say something else.
UPDATE_QUEUE_POSITIONS_THAT_CHANGED = f"""
    WITH waiting AS (
        SELECT book_id, imported_at, ordinal, {IS_IMPORT} AS is_import,
               row_number() OVER (PARTITION BY owner_uid ORDER BY imported_at, ordinal) AS round
        FROM jobs WHERE permitted_at IS NULL AND state IN ('pending', 'retrying') AND type = 'book-processing'
    ), placed AS (
        SELECT book_id, least(%(last)s, row_number() OVER (ORDER BY is_import DESC, round, imported_at, ordinal))
               AS position
        FROM waiting
    ), changed AS (
        SELECT s.entity_id, placed.position FROM processing_status s JOIN placed ON placed.book_id = s.entity_id
        WHERE s.entity_type = 'book' AND s.status = 'pending' AND s.queue_position IS DISTINCT FROM placed.position
          AND (%(book_id)s::uuid IS NULL OR s.entity_id = %(book_id)s)
        FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE processing_status s SET queue_position = changed.position, revision = nextval('revisions')
    FROM changed WHERE s.entity_type = 'book' AND s.entity_id = changed.entity_id
"""


def note_queue(connection: Connection, book_id: UUID | None) -> int:
    """Write the positions that changed, of all books or of one, and return how many."""
    where = {"last": LAST_POSITION, "book_id": book_id}
    return connection.execute(UPDATE_QUEUE_POSITIONS_THAT_CHANGED, where).rowcount
