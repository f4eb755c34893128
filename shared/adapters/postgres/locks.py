"""The locks that more than one writer takes, and the one order in which each takes those that it needs.

1. An import's idempotency key.
2. The user: imports, which count a user's books.
3. The book's row: shared (KEY SHARE) by whoever locks its status or writes results, alone by its deletion. An import's
   lock lets the shared ones through.
4. The version's row: shared by whoever writes its results, alone by retention and deletion. And the rows of the results
   themselves, with the tombstones of chapters: chapters that are reused are shared, in the order of their ids.
5. The book's status row. Whoever has it is the only one who begins or ends work on the book.
6. Rows of jobs, in the order of their ids; then statuses of chapters, which only who has the book's status changes.
7. Dead letters, in the order of their ids; then actions, in the order of theirs.
8. The breaker of a model.

Whoever gives permits locks their stages before all that, and waits for no row (`permits.py`).

Each is held until the transaction ends. A statement that locks several rows of one kind locks them in order first:
`WHERE id IN (SELECT id … ORDER BY id FOR NO KEY UPDATE)`. What may be left out is passed over instead (SKIP LOCKED):
heartbeats, notes of what was projected, and retention never wait for a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Connection
from shared.adapters.postgres.status_rows import UNDER_WAY
from shared.domain.books import BookVersion
from shared.domain.errors import TooManyBooks, UnknownBook

# For idempotency keys: of two requests with one key, the second finds what the first wrote.
LOCK_KEY = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

# For the limit of books under way: a user's imports run one after another, so that two don't take the last place both.
LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))"

# Under that lock. The book itself does not count: its next version takes no further place. Nor do those that move to
# another embedding model: nobody imported that.
COUNT_OTHER_BOOKS_UNDER_WAY = f"""
    SELECT count(*) AS books FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    JOIN book_versions v ON v.book_id = s.book_id AND v.version = s.version AND v.cause = 'import'
    WHERE b.owner_uid = %s AND b.book_id <> %s AND s.status IN {UNDER_WAY}
"""

# For imports: no two make the same version of a book.
LOCK_BOOK_OF_OWNER = "SELECT * FROM books WHERE book_id = %s AND owner_uid = %s FOR NO KEY UPDATE"

# For fan-in: whoever holds this row counts after all that went before have committed. The last one sees zero pending.
LOCK_STATUS_OF_BOOK = """
    SELECT s.version FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.book_id = %s FOR KEY SHARE OF b FOR UPDATE OF s
"""

# For what owners do: the status row too, found by who may do it. The version is the status row's own: that of the
# book's row may be older, if an import was waited for.
LOCK_STATUS_OF_BOOK_OF_OWNER = """
    SELECT b.book_id, b.owner_uid, s.version, s.status FROM books b
    JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE b.book_id = %s AND (%s::text IS NULL OR b.owner_uid = %s) FOR KEY SHARE OF b FOR UPDATE OF s
"""

# For a deletion: nobody else holds anything of the book, or begins to.
LOCK_BOOK_ALONE = "SELECT 1 FROM books WHERE book_id = %s FOR UPDATE"
# Under that lock: what goes with the book, and those may hold who do not lock the book.
LOCK_ROWS_OF_BOOK = (
    "SELECT 1 FROM book_versions WHERE book_id = %s ORDER BY version FOR UPDATE",
    "SELECT 1 FROM processing_status WHERE entity_type = 'book' AND entity_id = %s FOR UPDATE",
    "SELECT 1 FROM jobs WHERE book_id = %s ORDER BY job_id FOR UPDATE",
    "SELECT 1 FROM dead_letters WHERE book_id = %s ORDER BY dead_letter_id FOR UPDATE",
    """SELECT 1 FROM dead_letter_actions a JOIN dead_letters USING (dead_letter_id) WHERE book_id = %s
       ORDER BY action_id FOR UPDATE OF a""",
)

# For what is done to all books: their statuses, then their jobs.
LOCK_BOOKS = (
    """SELECT 1 FROM processing_status WHERE entity_type = 'book' AND entity_id = ANY(%s)
       ORDER BY entity_id FOR UPDATE""",
    "SELECT 1 FROM jobs WHERE book_id = ANY(%s) ORDER BY job_id FOR NO KEY UPDATE",
)


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


def lock_rows_of_book(connection: Connection, book_id: UUID) -> None:
    """Wait for all who write something of the book, so that it can be deleted in any order. Raises UnknownBook."""
    # Without this lock none of the others: it may have been deleted meanwhile, and be made anew.
    if not connection.execute(LOCK_BOOK_ALONE, (book_id,)).rowcount:
        raise UnknownBook
    for statement in LOCK_ROWS_OF_BOOK:
        connection.execute(statement, (book_id,))


def lock_books(connection: Connection, book_ids: Sequence[UUID]) -> None:
    """Wait for the status rows and the jobs of many books."""
    for statement in LOCK_BOOKS:
        connection.execute(statement, (list(book_ids),))


def refuse_above_limit(connection: Connection, owner_uid: str, book_id: UUID, limit: int) -> None:
    """Raise TooManyBooks if `limit` of the user's other books are under way. The caller has waited for the user."""
    row = connection.execute(COUNT_OTHER_BOOKS_UNDER_WAY, (owner_uid, book_id)).fetchone()
    if row and row["books"] >= limit:
        raise TooManyBooks(f"{row['books']} books are under way, as many as a user may have at once")
