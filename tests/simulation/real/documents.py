"""Live documents in the end, beside what plain SQL says of the rows; and how they moved until then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.domain.error_codes import shown_to_users
from shared.ports import Document, Tombstone
from tests.simulation.invariants import Broken

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

SELECT_BOOKS = """
    SELECT 'books/' || b.book_id AS path, s.revision, b.owner_uid, b.readers, v.title, s.version, s.status, s.phase, s.progress,
           s.error, s.waiting_for, s.completed_at, s.queue_position,
           (SELECT count(*) FROM recent_chapters r JOIN chapter_chunks USING (chapter_id)
            WHERE r.book_id = b.book_id AND r.version = s.version) AS chunks,
           (SELECT jsonb_build_object(
                'total', count(*), 'processed', count(r.metadata), 'embedded', count(r.embedding_vector),
                'failed', count(*) FILTER (WHERE c.status = 'failed'), 'without_metadata', count(c.lacks_metadata))
            FROM recent_chapters r JOIN processing_status c ON c.entity_id = r.chapter_id
            WHERE r.book_id = b.book_id AND r.version = s.version) AS chapters
    FROM books b JOIN processing_status s ON s.entity_id = b.book_id
    JOIN book_versions v ON v.book_id = b.book_id AND v.version = s.version
"""
# Of the newest version that has been split.
SELECT_CHAPTERS = """
    SELECT 'books/' || r.book_id || '/chapters/' || lpad(r.chapter_number::text, 4, '0') AS path, s.revision,
           b.owner_uid, r.version, r.title, s.status, s.phase, s.progress, r.word_count, s.error,
           (SELECT count(*) FROM chapter_chunks k WHERE k.chapter_id = r.chapter_id) AS chunks
    FROM recent_chapters r JOIN processing_status s ON s.entity_id = r.chapter_id JOIN books b ON b.book_id = r.book_id
    WHERE NOT EXISTS (SELECT 1 FROM recent_chapters n WHERE n.book_id = r.book_id AND n.version > r.version)
"""
# Of the same version: a character a chapter and stage.
SELECT_GRIDS = """
    SELECT 'books/' || b.book_id || '/live/grid' AS path, s.revision, b.owner_uid, b.readers, r.version,
           string_agg(CASE WHEN r.metadata IS NOT NULL THEN '#' WHEN c.lacks_metadata = 'failed' THEN '!'
                           WHEN c.lacks_metadata = 'blocked' THEN '-' WHEN s.status = 'cancelled' THEN 'x' ELSE '.' END,
                      '' ORDER BY r.chapter_number) AS metadata,
           string_agg(CASE WHEN r.embedding_vector IS NOT NULL THEN '#' WHEN c.status = 'failed' THEN '!'
                           WHEN s.status = 'cancelled' THEN 'x' ELSE '.' END,
                      '' ORDER BY r.chapter_number) AS embeddings
    FROM books b JOIN processing_status s ON s.entity_id = b.book_id
    JOIN recent_chapters r ON r.book_id = b.book_id JOIN processing_status c ON c.entity_id = r.chapter_id
    WHERE NOT EXISTS (SELECT 1 FROM recent_chapters n WHERE n.book_id = r.book_id AND n.version > r.version)
    GROUP BY b.book_id, s.revision, b.owner_uid, b.readers, r.version, s.status
"""
SELECT_JOBS = """
    SELECT 'jobs/' || job_id AS path, j.revision, j.type, j.state, j.attempts, j.error, b.owner_uid, j.finished_on,
           CASE j.state WHEN 'completed' THEN 100 ELSE 0 END AS progress
    FROM jobs j JOIN books b USING (book_id)
"""


def check(sim: RealSimulation) -> None:
    """Raises Broken."""
    _revisions_only_rise(sim)
    rows = [r for query in (SELECT_BOOKS, SELECT_GRIDS, SELECT_CHAPTERS, SELECT_JOBS) for r in sim.watch.rows(query)]
    live = {d.path: d for d in sim.world.live_documents.all()}
    for row in rows:
        _is_true(row, live.pop(row["path"], None))
    for path in live:
        raise Broken("no live document outlives what it shows", f"{live[path]}")


def _is_true(row: dict[str, Any], document: Document | None) -> None:
    if document is None:
        raise Broken("live documents are true", f"there is none of {row}")
    if row.get("error"):
        row["error"] = shown_to_users(row["error"])
    shown = {"path": document.path, "revision": document.revision, **document.fields}
    if wrong := {k: (shown.get(k), v) for k, v in row.items() if shown.get(k) != v}:
        raise Broken("live documents are true", f"{document.path} (shown, should): {wrong}")


def _revisions_only_rise(sim: RealSimulation) -> None:
    last: dict[str, int] = {}
    for taken in sim.world.live_documents.taken:
        if isinstance(taken, Tombstone):
            last.pop(taken.path, None)
        elif taken.revision <= last.get(taken.path, -1):
            raise Broken("revisions only rise", f"{taken.path}: {last[taken.path]}, then {taken.revision}")
        else:
            last[taken.path] = taken.revision
