"""Live documents, from the rows that they show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.adapters.postgres.tombstones import book_path, chapter_path, grid_path, job_path
from shared.domain.books import ChapterState
from shared.domain.contexts import Lack
from shared.domain.error_codes import shown_to_users
from shared.domain.progress import eta_seconds
from shared.domain.stages import JobType
from shared.ports import Document

SHOWN_OF_CHAPTER = """
    r.book_id, r.version, r.chapter_id, r.chapter_number, r.title, r.word_count, b.owner_uid,
    (SELECT count(*) FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id) AS chunks,
    s.status, s.phase, s.progress, s.attempt, s.next_attempt_at, s.error, s.revision,
    jsonb_strip_nulls(jsonb_build_object('metadata', s.lacks_metadata)) AS lacks
"""
"""What `chapter_document` takes: of a chapter `r`, its status `s` and its book `b`."""

COUNTS_OF_CHAPTERS = """
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE r.metadata IS NOT NULL) AS processed,
               count(*) FILTER (WHERE r.embedding_timestamp IS NOT NULL) AS embedded
        FROM recent_chapters r WHERE r.book_id = b.book_id AND r.version = s.version) counts
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE c.status = 'completed') AS done,
               count(*) FILTER (WHERE c.status = 'failed') AS failed, count(c.lacks_metadata) AS without_metadata
        FROM processing_status c
        WHERE c.book_id = b.book_id AND c.version = s.version AND c.entity_type = 'chapter') states
"""
"""How many chapters a book `b` with the status `s` has, and how many are how far. Each table is counted by itself: a
planner without statistics would join them row by row, over all books."""


def _state_in(job_type: JobType, is_done: str, ended: Mapping[ChapterState, str]) -> str:
    """The character for a chapter `r` in a stage. `ended`: what holds for the statuses of chapters that came to another
    end there. Each set of chapters is asked for once, whatever a planner knows of the tables: it depends on no `r`."""
    jobs = f"""
        SELECT jsonb_array_elements_text(j.data->'chapter_ids')::uuid FROM jobs j
        WHERE j.book_id = b.book_id AND j.type = '{job_type}' AND j.state"""
    statuses = "SELECT c.entity_id FROM processing_status c WHERE c.book_id = b.book_id AND"
    sets = {ChapterState.PROCESSING: f"{jobs} = 'processing'", ChapterState.RETRYING: f"{jobs} = 'retrying'"}
    sets |= {state: f"{statuses} {condition}" for state, condition in ended.items()}
    found = " ".join(f"WHEN r.chapter_id IN ({those}) THEN '{state}'" for state, those in sets.items())
    return f"""string_agg(
        CASE WHEN {is_done} THEN '{ChapterState.COMPLETED}' {found}
             WHEN s.status = 'cancelled' THEN '{ChapterState.CANCELLED}' ELSE '{ChapterState.PENDING}' END,
        '' ORDER BY r.chapter_number)"""


_STATE_OF_METADATA = _state_in(
    JobType.CHAPTER_PROCESSING,
    "r.metadata IS NOT NULL",
    {
        ChapterState.FAILED: f"c.lacks_metadata = '{Lack.FAILED}'",
        ChapterState.BLOCKED: f"c.lacks_metadata = '{Lack.BLOCKED}'",
    },
)
_STATE_OF_VECTORS = _state_in(
    JobType.EMBEDDING_GENERATION,
    "r.embedding_timestamp IS NOT NULL",
    {ChapterState.FAILED: "c.entity_type = 'chapter' AND c.status = 'failed'"},
)

STATES_OF_CHAPTERS = f"""
    CROSS JOIN LATERAL (
        SELECT max(r.version) AS split_version, {_STATE_OF_METADATA} AS metadata, {_STATE_OF_VECTORS} AS embeddings
        FROM recent_chapters r
        WHERE r.book_id = b.book_id
          AND r.version = (SELECT max(version) FROM recent_chapters WHERE book_id = b.book_id)) grid
"""
"""How far the chapters of a book `b` with the status `s` are in each stage: of the newest version that was split."""

DOCUMENT_IS_DUE = """(
    s.projected_at IS NULL OR s.projected_at <= %(now)s::timestamptz - interval '1 second'
    OR s.projected_phase IS DISTINCT FROM s.status || ' ' || s.phase)"""
"""Whether the document of a book with the status `s` may be written: a change of status or phase is never held back."""

JOB_DOCUMENT_KEPT = timedelta(days=30)


def book_documents(row: Mapping[str, Any], now: datetime) -> list[Document]:
    """The book's document, and that which packs the states of its chapters: none until the first version is split. They
    are written together: one revision is for both."""
    fields = {
        "owner_uid": row["owner_uid"],
        "readers": row["readers"],
        "version": row["split_version"] or row["version"],
    }
    fields |= {stage: row[stage] or "" for stage in ("metadata", "embeddings")}
    grid = Document(path=grid_path(row["entity_id"]), revision=row["revision"], fields=fields)
    return [grid, _book_document(row, now)]


def _book_document(row: Mapping[str, Any], now: datetime) -> Document:
    whose = ("owner_uid", "readers")
    what = ("title", "summary", "version", "cause", "status", "phase", "progress", "chunks")
    waits = ("attempt", "waiting_for", "next_attempt_at")
    fields = {name: row[name] for name in (*whose, *what, *waits, "started_at", "updated_at", "completed_at")}
    fields["chapters"] = {name: row[name] for name in ("total", "processed", "embedded", "failed", "without_metadata")}
    fields |= {"status": row["shown_status"], "queue_position": row["queue_position"]}
    fields["failed_chapters"] = row["failed"]
    fields["max_attempts"] = row["max_attempts"]
    fields["eta_seconds"] = eta_seconds(row["progress"], row["started_at"], now)
    fields["error"] = row["error"] and shown_to_users(row["error"])
    return Document(path=book_path(row["entity_id"]), revision=row["revision"], fields=fields)


def chapter_document(row: Mapping[str, Any]) -> Document:
    same = ("owner_uid", "version", "title", "status", "phase", "progress", "word_count", "chunks")
    fields = {name: row[name] for name in (*same, "attempt", "next_attempt_at", "lacks")}
    fields["number"] = row["chapter_number"]
    fields["chapter_id"] = str(row["chapter_id"])
    fields["error"] = row["error"] and shown_to_users(row["error"])
    path = chapter_path(row["book_id"], row["chapter_number"])
    return Document(path=path, revision=row["revision"], fields=fields)


def job_document(row: Mapping[str, Any]) -> Document:
    """Of a row of `jobs`."""
    same = ("type", "state", "attempts", "owner_uid", "created_at", "processed_on", "finished_on")
    fields = {name: row[name] for name in same}
    fields["progress"] = 100 if row["state"] == "completed" else 0
    fields["book_id"] = str(row["book_id"])
    fields["error"] = row["error"] and shown_to_users(row["error"])
    fields["expire_at"] = row["finished_on"] and row["finished_on"] + JOB_DOCUMENT_KEPT
    return Document(path=job_path(row["job_id"]), revision=row["revision"], fields=fields)
