"""Keys of machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.database import Database
from shared.domain.api_keys import ApiKey
from shared.domain.identity import Scope

INSERT_KEY = """
    INSERT INTO api_keys (key_id, name, owner_uid, scopes, digest, created_by, created_at, expires_at)
    VALUES (%(key_id)s, %(name)s, %(owner_uid)s, %(scopes)s, %(digest)s, %(created_by)s, %(created_at)s, %(expires_at)s)
"""
SELECT_KEY = "SELECT * FROM api_keys WHERE key_id = %s"
SELECT_KEYS_MADE_BY = """
    SELECT * FROM api_keys WHERE %(uid)s::text IS NULL OR created_by = %(uid)s ORDER BY created_at DESC, key_id
"""
NOTE_USE_OF_KEY = "UPDATE api_keys SET last_used_at = %s WHERE key_id = %s"

# To revoke it again changes nothing.
REVOKE_KEY_MADE_BY = """
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, %(now)s)
    WHERE key_id = %(key_id)s AND (%(uid)s::text IS NULL OR created_by = %(uid)s)
"""


class PostgresApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, key: ApiKey, digest: bytes) -> None:
        with self._database.transaction() as connection:
            connection.execute(INSERT_KEY, {**asdict(key), "scopes": list(key.scopes), "digest": digest})

    def find(self, key_id: UUID) -> tuple[ApiKey, bytes] | None:
        with self._database.statements() as connection:
            row = connection.execute(SELECT_KEY, (key_id,)).fetchone()
        return (_key(row), row["digest"]) if row else None

    def made_by(self, uid: str | None) -> Sequence[ApiKey]:
        with self._database.statements() as connection:
            return [_key(row) for row in connection.execute(SELECT_KEYS_MADE_BY, {"uid": uid})]

    def note_use(self, key_id: UUID, now: datetime) -> None:
        with self._database.statements() as connection:
            connection.execute(NOTE_USE_OF_KEY, (now, key_id))

    def revoke(self, key_id: UUID, uid: str | None, now: datetime) -> bool:
        with self._database.transaction() as connection:
            where = {"key_id": key_id, "uid": uid, "now": now}
            return connection.execute(REVOKE_KEY_MADE_BY, where).rowcount > 0


def _key(row: Mapping[str, Any]) -> ApiKey:
    fields = {name: value for name, value in row.items() if name != "digest"}
    return ApiKey(**{**fields, "scopes": [Scope(scope) for scope in row["scopes"]]})
