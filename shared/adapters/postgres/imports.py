"""Writes a manuscript as a new version, once for each request however often it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.adapters.postgres.control import CHANGE_REVISION_OF_BOOK, SET_READERS_OF_BOOK_OF_OWNER
from shared.adapters.postgres.database import Connection, Database
from shared.adapters.postgres.job_rows import CANCELLED, add_jobs
from shared.adapters.postgres.locks import LOCK_BOOK_OF_OWNER, LOCK_KEY, LOCK_OWNER, refuse_above_limit
from shared.adapters.postgres.old_versions import mark_due
from shared.adapters.postgres.outdated_books import is_due
from shared.domain import jobs
from shared.domain.books import BookVersion, Status
from shared.domain.embeddings import ModelKey
from shared.domain.errors import KeyReused, UnknownBook
from shared.domain.imports import Imported, ImportRequest, request_hash, title_of
from shared.domain.jobs import Job
from shared.domain.results import content_hash

# What an equal request wrote before.
SELECT_REQUEST_OF_KEY = "SELECT * FROM idempotency_keys WHERE owner_uid = %s AND key = %s"

# So that the same request, sent again, finds what it wrote.
INSERT_KEY = """
    INSERT INTO idempotency_keys (owner_uid, key, request_hash, book_id, version, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""

# The book of a Google document, or of what its owner calls so, may be there already: then this locks it. One that is
# being deleted is waited for, and made anew.
INSERT_BOOK_OR_LOCK_THE_ONE_OF_THIS_NAME = """
    INSERT INTO books (book_id, owner_uid, google_doc_id, source_id, readers, title, latest_version, created_at,
                       updated_at)
    VALUES (%(book_id)s, %(owner_uid)s, %(google_doc_id)s, %(source_id)s, %(readers)s, %(title)s, 0, %(now)s, %(now)s)
    ON CONFLICT (owner_uid, {named_by}) DO UPDATE SET updated_at = books.updated_at
    RETURNING *
"""

# An equal text adds no version, unless it is for another model's vectors; a title that is not given is that of the
# version before.
IS_SAME_AS_VERSION = """
    SELECT 1 FROM book_versions
    WHERE book_id = %s AND version = %s AND content_hash = %s AND title = coalesce(%s, title)
"""

# The manuscript as it came: everything else can be made from it again.
INSERT_VERSION = """
    INSERT INTO book_versions (book_id, version, title, content, content_hash, force, allow_partial, created_at)
    VALUES (%(book_id)s, %(version)s,
            coalesce(%(title)s, (SELECT title FROM book_versions
                                 WHERE book_id = %(book_id)s AND version = %(version)s - 1), %(title_of_text)s),
            %(content)s, %(content_hash)s, %(force)s, %(allow_partial)s, %(now)s)
"""

# For what nobody imports: the text of the latest version once more, for vectors of this model.
INSERT_VERSION_FOR_ANOTHER_MODEL = """
    INSERT INTO book_versions (book_id, version, title, content, content_hash, created_at, cause, embedding_model,
                               embedding_version)
    SELECT book_id, version + 1, title, content, content_hash, %(now)s, 'reembed', %(model)s, %(model_version)s
    FROM book_versions WHERE book_id = %(book_id)s AND version = %(latest)s
"""

# For an import that begins anew: it keeps its turn, and what was paid for since it was forced.
INSERT_VERSION_THAT_BEGINS_ANEW = """
    INSERT INTO book_versions (book_id, version, title, content, content_hash, created_at, force, allow_partial)
    SELECT book_id, version + 1, title, content, content_hash, created_at, force, allow_partial
    FROM book_versions WHERE book_id = %(book_id)s AND version = %(latest)s
"""

# A request that is repeated is told of the version that took over the one it wrote.
MOVE_KEYS_TO_NEXT_VERSION = """
    UPDATE idempotency_keys SET version = version + 1 WHERE book_id = %(book_id)s AND version = %(latest)s
"""

# From here on, messages of older versions are stale, and the book's row of status tells of this one alone. In one
# statement, since other imports of the owner wait meanwhile.
MAKE_VERSION_THE_LATEST = """
    WITH latest AS (UPDATE books SET latest_version = %(version)s, updated_at = %(now)s WHERE book_id = %(book_id)s)
    INSERT INTO processing_status (entity_type, entity_id, book_id, version, phase, created_at, updated_at)
    VALUES ('book', %(book_id)s, %(book_id)s, %(version)s, 'splitting', %(now)s, %(now)s)
    ON CONFLICT (entity_type, entity_id) DO UPDATE SET
        version = excluded.version, status = 'pending', phase = 'splitting', progress = 0, attempt = 0,
        next_attempt_at = NULL, error = NULL, waiting_for = NULL, queue_position = NULL, started_at = NULL,
        completed_at = NULL,
        created_at = excluded.created_at, updated_at = excluded.updated_at, revision = nextval('revisions')
"""

# Nobody works on them any more, and their permits are free.
CANCEL_JOBS_OF_OLDER_VERSIONS = f"""
    UPDATE jobs SET {CANCELLED}
    WHERE job_id IN (
        SELECT job_id FROM jobs
        WHERE book_id = %(book_id)s AND version < %(version)s AND state IN ('pending', 'processing', 'retrying')
        ORDER BY job_id FOR NO KEY UPDATE)
"""

# What failed of older versions is obsolete.
RESOLVE_DEAD_LETTERS_OF_OLDER_VERSIONS = """
    UPDATE dead_letters SET state = 'resolved', resolved_at = %s WHERE dead_letter_id IN (
        SELECT dead_letter_id FROM dead_letters
        WHERE book_id = %s AND version < %s AND state IN ('open', 'redriven')
        ORDER BY dead_letter_id FOR NO KEY UPDATE)
"""

# Nor are their redrives sent any more.
DROP_ACTIONS_OF_OLDER_VERSIONS = """
    UPDATE dead_letter_actions SET outcome = 'dropped', reason = 'a newer version took over', finished_at = %s
    WHERE action_id IN (
        SELECT a.action_id FROM dead_letter_actions a JOIN dead_letters d USING (dead_letter_id)
        WHERE d.book_id = %s AND d.version < %s AND a.outcome IN ('held', 'waiting', 'sent')
        ORDER BY a.action_id FOR NO KEY UPDATE OF a)
"""

# A redrive that is overtaken leaves the chapters that readers see as they were before it: nobody works on them.
SETTLE_CHAPTERS_OF_READERS_VERSION = """
    UPDATE processing_status s SET
        lacks_metadata = CASE WHEN c.metadata IS NULL THEN coalesce(s.lacks_metadata, 'failed') END,
        status = CASE WHEN c.embedding_timestamp IS NULL THEN 'failed' ELSE 'completed' END,
        phase = CASE WHEN c.embedding_timestamp IS NULL THEN 'embedding' ELSE 'completed' END,
        error = CASE WHEN c.embedding_timestamp IS NULL THEN coalesce(s.error, (
            SELECT jsonb_build_object('error_class', error_class, 'message', message, 'fingerprint', fingerprint)
            FROM dead_letters d WHERE d.book_id = s.book_id AND d.version = s.version
              AND d.type = 'embedding-generation' AND d.payload->'chapter_ids' ? s.entity_id::text
            ORDER BY last_seen DESC LIMIT 1)) END,
        attempt = 0, next_attempt_at = NULL, completed_at = %(now)s, updated_at = %(now)s,
        revision = nextval('revisions')
    FROM recent_chapters c JOIN books b USING (book_id)
    WHERE b.book_id = %(book_id)s AND c.version = b.current_version
      AND s.entity_type = 'chapter' AND s.entity_id = c.chapter_id AND s.status NOT IN ('completed', 'failed')
"""

# What a repeated request is answered.
SELECT_STATUS_OF_VERSION = """
    SELECT status, progress FROM processing_status WHERE entity_type = 'book' AND entity_id = %s AND version = %s
"""


class PostgresImports:
    """`max_under_way` books of one user may be under way at once. `model`: of which vectors are to be."""

    def __init__(self, database: Database, max_under_way: int, model: ModelKey) -> None:
        self._database = database
        self._max_under_way = max_under_way
        self._model = model

    def add(self, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        with self._database.transaction() as connection:
            if request.idempotency_key:
                known = self._known(connection, request)
                if known:
                    return known
            imported = self._write(connection, request, book_id, now)
            if request.idempotency_key:
                row = (request.owner_uid, request.idempotency_key, request_hash(request))
                connection.execute(INSERT_KEY, (*row, imported.book_id, imported.version, now))
            return imported

    def _known(self, connection: Connection, request: ImportRequest) -> Imported | None:
        connection.execute(LOCK_KEY, (f"{request.owner_uid}\n{request.idempotency_key}",))
        row = connection.execute(SELECT_REQUEST_OF_KEY, (request.owner_uid, request.idempotency_key)).fetchone()
        if row is None:
            return None
        if row["request_hash"] != request_hash(request):
            raise KeyReused("this Idempotency-Key came with another request before")
        return replace(_existing(connection, row["book_id"], row["version"]), is_repeat=True)

    def _write(self, connection: Connection, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        connection.execute(LOCK_OWNER, (request.owner_uid,))
        book = _lock_book(connection, request, book_id, now)
        changes_readers = _set_readers(connection, request, book)
        latest = book["latest_version"]
        same = (book["book_id"], latest, content_hash(request.content), request.title)
        if latest and not request.force and connection.execute(IS_SAME_AS_VERSION, same).fetchone():
            if is_due(connection, book["book_id"], self._model):
                return _begun(
                    repeat_version(connection, book["book_id"], latest, self._model, now, request.trace_context)
                )
            if changes_readers:
                connection.execute(CHANGE_REVISION_OF_BOOK, {"book_id": book["book_id"], "now": now})
            return _existing(connection, book["book_id"], latest)
        refuse_above_limit(connection, request.owner_uid, book["book_id"], self._max_under_way)
        return _add_version(connection, request, book["book_id"], latest + 1, now)


def _lock_book(connection: Connection, request: ImportRequest, book_id: UUID, now: datetime) -> Mapping[str, Any]:
    if request.book_id is None:
        row = {"book_id": book_id, "owner_uid": request.owner_uid, "google_doc_id": request.google_doc_id, "now": now}
        row |= {"source_id": request.source_id, "readers": list(request.readers or ())}
        row |= {"title": request.title or title_of(request.content)}
        named_by = "google_doc_id" if request.source_id is None else "source_id"
        statement = INSERT_BOOK_OR_LOCK_THE_ONE_OF_THIS_NAME.format(named_by=named_by)
        book = connection.execute(statement, row).fetchone()
    else:
        book = connection.execute(LOCK_BOOK_OF_OWNER, (request.book_id, request.owner_uid)).fetchone()
    if book is None:
        raise UnknownBook("there is no such book")
    return book


def _set_readers(connection: Connection, request: ImportRequest, book: Mapping[str, Any]) -> bool:
    """Let those read the book, which the caller has locked, whom the request names. Return whether that changed it; its
    documents name them, too."""
    if request.readers is None or list(request.readers) == book["readers"]:
        return False
    row = {"book_id": book["book_id"], "owner": request.owner_uid, "readers": list(request.readers)}
    connection.execute(SET_READERS_OF_BOOK_OF_OWNER, row)
    return True


def _add_version(
    connection: Connection, request: ImportRequest, book_id: UUID, version: int, now: datetime
) -> Imported:
    row = {"book_id": book_id, "version": version, "title": request.title, "title_of_text": title_of(request.content)}
    row |= {"content": request.content, "content_hash": content_hash(request.content), "force": request.force}
    connection.execute(INSERT_VERSION, row | {"allow_partial": request.allow_partial, "now": now})
    return _begun(_begin_version(connection, book_id, version, now, request.trace_context))


def repeat_version(
    connection: Connection, book_id: UUID, latest: int, model: ModelKey | None, now: datetime, trace: str | None = None
) -> Job:
    """Let a version of the same text follow the book's latest: for vectors of this model, or (None) as the import that
    it was. The caller has locked the book's row. Return its first job."""
    row: dict[str, Any] = {"book_id": book_id, "latest": latest, "now": now}
    if model:
        connection.execute(
            INSERT_VERSION_FOR_ANOTHER_MODEL, row | {"model": model.name, "model_version": model.version}
        )
    else:
        connection.execute(INSERT_VERSION_THAT_BEGINS_ANEW, row)
    connection.execute(MOVE_KEYS_TO_NEXT_VERSION, row)
    return _begin_version(connection, book_id, latest + 1, now, trace)


def _begin_version(connection: Connection, book_id: UUID, version: int, now: datetime, trace: str | None) -> Job:
    """Make a version that was just written the latest, end all work on those before, and return its first job."""
    this_version = {"book_id": book_id, "version": version, "now": now}
    if version > 1:
        mark_due(connection, book_id, version, now)
    connection.execute(MAKE_VERSION_THE_LATEST, this_version)
    if version > 1:
        connection.execute(CANCEL_JOBS_OF_OLDER_VERSIONS, this_version)
        connection.execute(RESOLVE_DEAD_LETTERS_OF_OLDER_VERSIONS, (now, book_id, version))
        connection.execute(DROP_ACTIONS_OF_OLDER_VERSIONS, (now, book_id, version))
        connection.execute(SETTLE_CHAPTERS_OF_READERS_VERSION, this_version)
    job = jobs.process_book_job(BookVersion(book_id, version))
    add_jobs(connection, [job], None, now, trace)
    return job


def _begun(job: Job) -> Imported:
    return Imported(book_id=job.book_id, version=job.version, job=job, is_new=True, status=Status.PENDING, progress=0)


def _existing(connection: Connection, book_id: UUID, version: int) -> Imported:
    row = connection.execute(SELECT_STATUS_OF_VERSION, (book_id, version)).fetchone()
    return Imported(
        book_id=book_id,
        version=version,
        job=jobs.process_book_job(BookVersion(book_id, version)),
        is_new=False,
        status=Status(row["status"]) if row else Status.CANCELLED,
        progress=row["progress"] if row else 0,
    )
