"""What committed, row by row: triggers note it, in the transaction that does it; a watcher reads it after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.simulation.real.watch import Watch

Row = dict[str, Any]

CREATE_JOURNAL = """
    CREATE TABLE IF NOT EXISTS journal (
        n bigint GENERATED ALWAYS AS IDENTITY, backend int NOT NULL DEFAULT pg_backend_pid(),
        what text NOT NULL, before jsonb, after jsonb) WITH (autovacuum_enabled = off);
    CREATE OR REPLACE FUNCTION note_in_journal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO journal (what, before, after) VALUES (TG_TABLE_NAME,
            CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - TG_ARGV END,
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - TG_ARGV END);
        RETURN NULL;
    END $$;
    CREATE OR REPLACE FUNCTION note_vector_in_journal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO journal (what, before, after) VALUES (TG_TABLE_NAME,
            CASE WHEN TG_OP <> 'INSERT' THEN jsonb_build_object('book_id', OLD.book_id,
                'hash', encode(OLD.content_hash, 'hex')) END,
            CASE WHEN TG_OP <> 'DELETE' THEN jsonb_build_object('book_id', NEW.book_id,
                'hash', encode(NEW.content_hash, 'hex')) END);
        RETURN NULL;
    END $$;
"""
_TRIGGER = """
    CREATE OR REPLACE TRIGGER journal_{operation} AFTER {operation} ON {table} FOR EACH ROW {when}
    EXECUTE FUNCTION {function}
"""
# Columns that change without a meaning here are left out.
_CHANGED = {
    "jobs": "state lease lease_until permitted_at attempts",
    "processing_status": "status version",
    "books": "current_version latest_version",
}
_NOTED: dict[str, tuple[str, str]] = {
    # The table, its operations, and what notes them.
    "jobs": ("INSERT UPDATE DELETE", "note_in_journal('data', 'failures', 'result', 'error')"),
    "books": ("INSERT UPDATE DELETE", "note_in_journal('updated_at')"),
    "processing_status": ("INSERT UPDATE DELETE", "note_in_journal('error')"),
    "book_versions": ("INSERT", "note_in_journal('content')"),
    "answers": ("INSERT DELETE", "note_in_journal('answer')"),
    "book_vectors": ("INSERT UPDATE DELETE", "note_vector_in_journal()"),
}
# Each row once, whoever committed it.
TAKE_JOURNAL = "DELETE FROM journal RETURNING n, backend, what, before, after"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of a table before and after: None where it was not there."""

    backend: int
    table: str
    before: Row | None
    after: Row | None

    @property
    def row(self) -> Row:
        row = self.after or self.before
        assert row is not None
        return row

    def became(self, column: str) -> bool:
        """Whether this column changed, and the row is there now."""
        return self.after is not None and (self.before or {}).get(column) != self.after[column]


class Journal:
    """Makes the triggers in a simulation's database."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        watch.execute(CREATE_JOURNAL)
        for table, (operations, function) in _NOTED.items():
            for operation in operations.split():
                watch.execute(_trigger(table, operation, function))

    def take(self) -> list[Entry]:
        """What has committed since this was asked last, in the order of the statements."""
        rows = sorted(self._watch.rows(TAKE_JOURNAL), key=lambda row: row["n"])
        return [
            Entry(backend=r["backend"], table=r["what"], before=_timed(r["before"]), after=_timed(r["after"]))
            for r in rows
        ]


def _trigger(table: str, operation: str, function: str) -> str:
    conditions = []
    if operation == "UPDATE" and table in _CHANGED:
        conditions.append(" OR ".join(f"OLD.{c} IS DISTINCT FROM NEW.{c}" for c in _CHANGED[table].split()))
    if table == "processing_status":
        conditions.append(f"{'OLD' if operation == 'DELETE' else 'NEW'}.entity_type = 'book'")
    when = f"WHEN ({' AND '.join(f'({c})' for c in conditions)})" if conditions else ""
    return _TRIGGER.format(operation=operation.lower(), table=table, when=when, function=function)


_MOMENTS = ("lease_until", "permitted_at", "processed_on")


def _timed(row: Row | None) -> Row | None:
    """With moments as such: JSON has texts."""
    if row is None:
        return None
    return {k: datetime.fromisoformat(v) if v and k in _MOMENTS else v for k, v in row.items()}
