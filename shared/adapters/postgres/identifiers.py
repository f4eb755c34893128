"""Ids by their beginnings, as people copy them. Every statement filters by owner; None stands for an administrator."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.adapters.postgres.database import Database
from shared.ports import IdentifierKind

_UUID_DIGITS = 32

# A beginning of a UUID is a range of UUIDs, which the primary key's index finds.
SELECT_BOOK_IDS_BETWEEN = """
    SELECT book_id::text AS id FROM books
    WHERE book_id BETWEEN %(low)s AND %(high)s AND (%(owner)s::text IS NULL OR owner_uid = %(owner)s)
"""

# Of batches, an owner sees those that hold a dead letter of their own books.
SELECT_BATCH_IDS_BETWEEN = """
    SELECT DISTINCT a.batch_id::text AS id
    FROM dead_letter_actions a JOIN dead_letters d USING (dead_letter_id) LEFT JOIN books b USING (book_id)
    WHERE a.action = 'redrive' AND a.batch_id BETWEEN %(low)s AND %(high)s
      AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

# A replay is an administrator's, whoever owns the books.
SELECT_REPLAY_IDS_BETWEEN = """
    SELECT replay_id::text AS id FROM replays
    WHERE replay_id BETWEEN %(low)s AND %(high)s AND %(owner)s::text IS NULL
"""

# A job belongs to whom its book belongs to.
SELECT_JOB_IDS_THAT_START = """
    SELECT j.job_id AS id FROM jobs j JOIN books b USING (book_id)
    WHERE starts_with(j.job_id, %(prefix)s) AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

# A cause is known to whom it hit.
SELECT_FINGERPRINTS_THAT_START = """
    SELECT DISTINCT d.fingerprint AS id FROM dead_letters d LEFT JOIN books b USING (book_id)
    WHERE starts_with(d.fingerprint, %(prefix)s) AND (%(owner)s::text IS NULL OR b.owner_uid = %(owner)s)
"""

STATEMENTS = {
    IdentifierKind.BOOK: SELECT_BOOK_IDS_BETWEEN,
    IdentifierKind.JOB: SELECT_JOB_IDS_THAT_START,
    IdentifierKind.REDRIVE: SELECT_BATCH_IDS_BETWEEN,
    IdentifierKind.REPLAY: SELECT_REPLAY_IDS_BETWEEN,
    IdentifierKind.FINGERPRINT: SELECT_FINGERPRINTS_THAT_START,
}
_OF_UUIDS = (IdentifierKind.BOOK, IdentifierKind.REDRIVE, IdentifierKind.REPLAY)


class PostgresIdentifiers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def matching(
        self, owner_uid: str | None, kind: IdentifierKind, prefix: str, suffix: str, limit: int
    ) -> Sequence[str]:
        where = {"owner": owner_uid, "prefix": prefix.lower(), "suffix": suffix.lower(), "limit": limit}
        if kind in _OF_UUIDS:
            digits = prefix.lower().replace("-", "")
            if not re.fullmatch("[0-9a-f]{1,32}", digits):
                return []
            where |= {"low": digits.ljust(_UUID_DIGITS, "0"), "high": digits.ljust(_UUID_DIGITS, "f")}
        query = f"""
            SELECT id FROM ({STATEMENTS[kind]}) AS found
            WHERE right(id, length(%(suffix)s)) = %(suffix)s ORDER BY id COLLATE "C" LIMIT %(limit)s
        """
        with self._database.statements() as connection:
            return [row["id"] for row in connection.execute(query, where)]
