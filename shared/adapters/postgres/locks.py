"""The locks that more than one writer takes, and the order in which each takes them.

Whoever ends a job locks the rows of its results first, then its book's status row, then the job's own row. Whoever
counts a user's books locks the user. Each is held until the transaction ends.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Connection
from shared.domain.books import BookVersion
from shared.domain.errors import TooManyBooks, UnknownBook

# For imports: no two make the same version of a book.
LOCK_BOOK_OF_OWNER = "SELECT * FROM books WHERE book_id = %s AND owner_uid = %s FOR NO KEY UPDATE"

# For fan-in: whoever holds this row counts after all that went before have committed. The last one sees zero pending.
LOCK_STATUS_OF_BOOK = """
    SELECT version FROM processing_status WHERE entity_type = 'book' AND entity_id = %s FOR UPDATE
"""

# For what owners do: the status row too, found by who may do it. An owner of NULL stands for an administrator.
LOCK_STATUS_OF_BOOK_OF_OWNER = """
    SELECT b.book_id, b.owner_uid, b.latest_version AS version, s.status FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.book_id = %s AND (%s::text IS NULL OR b.owner_uid = %s) FOR UPDATE OF s
"""

# For the limit of books under way: a user's imports run one after another, so that two don't take the last place both.
LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))"
# Under that lock. The book itself does not count: its next version takes no further place.
COUNT_OTHER_BOOKS_UNDER_WAY = """
    SELECT count(*) AS books FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.owner_uid = %s AND b.book_id <> %s AND s.status IN ('pending', 'processing', 'retrying')
"""

# For idempotency keys: of two requests with one key, the second finds what the first wrote.
LOCK_KEY = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


def lock_book(connection: Connection, version: BookVersion) -> bool:
    """Wait for the book's status row; False if this version is no longer the one that it tells of."""
    row = connection.execute(LOCK_STATUS_OF_BOOK, (version.book_id,)).fetchone()
    return row is not None and row["version"] == version.version


def lock_book_of_owner(connection: Connection, owner_uid: str | None, book_id: UUID) -> dict[str, Any]:
    """Wait for the book's status row: `book_id, owner_uid, version` (the latest), `status`. Raises UnknownBook."""
    row = connection.execute(LOCK_STATUS_OF_BOOK_OF_OWNER, (book_id, owner_uid, owner_uid)).fetchone()
    if row is None:
        raise UnknownBook
    return dict(row)


def lock_owner_below_limit(connection: Connection, owner_uid: str, book_id: UUID, limit: int) -> None:
    """Wait for the owner. Raises TooManyBooks if `limit` of the owner's other books are under way."""
    connection.execute(LOCK_OWNER, (owner_uid,))
    row = connection.execute(COUNT_OTHER_BOOKS_UNDER_WAY, (owner_uid, book_id)).fetchone()
    if row and row["books"] >= limit:
        raise TooManyBooks(f"{row['books']} books are under way, as many as a user may have at once")
