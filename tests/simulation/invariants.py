"""What must hold, whatever happened. Each raises Broken, which says what is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.domain.dead_letters import MAX_REDRIVES
from shared.domain.errors import Blocked, Unavailable
from shared.domain.jobs import Job
from shared.domain.stages import JobType
from shared.ports import Document, Tombstone
from shared.use_cases.reconcile import Reconcile
from tests.simulation import names
from tests.simulation.baseline import Rows, rows_of
from tests.simulation.broker import Fate
from tests.simulation.tasks import Crash, Task

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class Broken(AssertionError):
    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(what)
        self.invariant = invariant


def no_handler_raises_what_nobody_expects(task: Task) -> None:
    """A reconcile run may raise Unavailable. Nothing else gets out of a handler, and no API call answers 500."""
    expected = (Crash, Unavailable) if isinstance(task.body, Reconcile) else (Crash,)
    if task.error is not None and not isinstance(task.error, expected):
        raise Broken("no handler raises", f"{task.name}: {task.error!r}") from task.error
    status = getattr(task.outcome, "status_code", task.outcome)
    if isinstance(status, int) and status >= 500 and status != 503:
        raise Broken("no handler raises", f"{task.name} answered {status}")


def readers_see_only_complete_versions(sim: Simulation) -> None:
    rows = sim.world.database.rows("""
        SELECT b.book_id, b.current_version, v.completed_at,
               (SELECT min(r.chapter_number) FROM recent_chapters r
                JOIN processing_status s ON s.entity_type = 'chapter' AND s.entity_id = r.chapter_id
                WHERE r.book_id = b.book_id AND r.version = b.current_version AND s.status <> 'failed'
                  -- Who lacks metadata is complete without it.
                  AND (r.metadata IS NULL AND s.lacks_metadata IS NULL OR r.embedding_vector IS NULL)
                  -- What failed may be redriven: readers went without it before.
                  AND NOT EXISTS (SELECT 1 FROM dead_letters d WHERE d.book_id = r.book_id AND d.state = 'redriven'
                                  AND d.payload->'chapter_ids' ? r.chapter_id::text)) AS unfinished
        FROM books b LEFT JOIN book_versions v ON v.book_id = b.book_id AND v.version = b.current_version
        WHERE b.current_version IS NOT NULL""")
    for row in rows:
        before = sim.history.seen.get(row["book_id"], 0)
        if row["completed_at"] is None:
            raise Broken("readers see complete versions", f"{row['book_id']} shows v{row['current_version']}")
        if row["unfinished"] is not None:
            raise Broken("readers see complete versions", f"{row['book_id']}: chapter {row['unfinished']} is not done")
        if row["current_version"] < before:
            raise Broken("readers never go back", f"{row['book_id']}: v{before}, then v{row['current_version']}")
        sim.history.seen[row["book_id"]] = row["current_version"]


def retries_wait(sim: Simulation, job_id: str) -> None:
    """No attempt begins before its time, however early the message comes."""
    earliest = sim.history.not_before.get(job_id)
    if earliest is not None and sim.clock.peak < earliest:
        raise Broken("retries wait", f"{job_id} was to wait until {earliest:%H:%M:%S}, it is {sim.clock():%H:%M:%S}")


def a_cancelled_book_stands_still(sim: Simulation, task: Task, what: str) -> None:
    """From the answer to its cancel on, until its owner does something that may set it going again."""
    for client in sim.clients:
        if client.cancelled and client.book_id == str(task.notes.get("book")):
            raise Broken("a cancelled book stands still", f"{task.name} {what} {task.job_id}")


def who_works_holds_a_permit(task: Task, permitted_at: datetime | None) -> None:
    if permitted_at is None:
        raise Broken("a cap holds", f"{task.name} begins {task.job_id} without a permit")


def no_more_hold_permits_than_may(sim: Simulation) -> None:
    for row in sim.world.database.rows(
        "SELECT type, count(*) AS n FROM jobs WHERE permitted_at IS NOT NULL GROUP BY 1"
    ):
        if row["n"] > sim.world.profile.caps[row["type"]]:
            raise Broken("a cap holds", f"{row['n']} jobs of {row['type']} hold permits")


def every_request_is_answered_once(sim: Simulation) -> None:
    """However often it was sent: each client has one book, and no answer but 202 and 503."""
    for client in sim.clients:
        if client.unexpected or sim.unexpected:
            raise Broken("every request is answered", f"{client.name}: {client.unexpected}, {sim.unexpected}")
    books = sim.world.database.rows("SELECT book_id FROM books")
    wanted = {c.book_id for c in sim.clients if c.book_id}
    if {str(b["book_id"]) for b in books} != wanted:
        raise Broken("one book for each client", f"{len(books)} books for {len(wanted)} clients")
    for row in sim.world.database.rows("""
        SELECT v.book_id, v.version FROM book_versions v
        JOIN book_versions p ON p.book_id = v.book_id AND p.version = v.version - 1
        WHERE NOT v.force AND v.content_hash = p.content_hash AND v.title = p.title"""):
        raise Broken("an equal import adds no version", f"{row['book_id']} v{row['version']} equals the one before")


def no_job_is_in_limbo(sim: Simulation) -> None:
    rows = sim.world.database.rows("""
        SELECT j.*, b.latest_version, EXISTS (
            SELECT 1 FROM dead_letters d WHERE d.job_id = j.job_id
                AND d.state = CASE WHEN j.version < b.latest_version THEN 'resolved' ELSE 'open' END) AS has_letter
        FROM jobs j JOIN books b USING (book_id) ORDER BY job_id""")
    for job in rows:
        fine = (
            job["state"] == "completed"
            or (job["state"] == "failed" and job["has_letter"])
            or (job["state"] == "cancelled" and job["version"] < job["latest_version"])
        )
        if not fine:
            raise Broken("no job is in limbo", f"{job['job_id']} is {job['state']}, letter: {job['has_letter']}")


_HOPELESS = """
    SELECT d.*, (d.version < b.latest_version OR d.message LIKE 'simulated: the model refuses%%' OR
                 (SELECT count(*) FROM dead_letter_actions a WHERE a.dead_letter_id = d.dead_letter_id
                  AND a.action = 'redrive' AND a.requested_by <> 'reconcile'
                  AND a.outcome IN ('sent', 'succeeded', 'failed')) >= %s) AS is_hopeless
    FROM dead_letters d JOIN books b USING (book_id) WHERE d.state = 'open' ORDER BY d.dead_letter_id
"""


def can_be_redriven(sim: Simulation) -> bool:
    """Whether there is a letter that another chance may help."""
    return any(not r["is_hopeless"] for r in sim.world.database.rows(_HOPELESS, MAX_REDRIVES))


def every_redrive_has_an_end(sim: Simulation) -> None:
    for row in sim.world.database.rows("SELECT * FROM dead_letter_actions"):
        if row["outcome"] not in ("succeeded", "failed", "dropped", "done") or row["finished_at"] is None:
            raise Broken("every redrive has an end", f"letter {row['dead_letter_id']}: {row['outcome']}")


def what_can_be_mended_is_mended(sim: Simulation) -> None:
    """Resumes and redrives bring every book to completion, unless the model refuses its text, or too often failed."""
    for letter in sim.world.database.rows(_HOPELESS, MAX_REDRIVES):
        if not letter["is_hopeless"]:
            raise Broken("what can be mended is mended", f"{letter['job_id']}: {letter['message']}")
    if rows := sim.world.database.rows("SELECT job_id FROM dead_letters WHERE state = 'redriven'"):
        raise Broken("what can be mended is mended", f"{[r['job_id'] for r in rows]}: redriven, and nothing came of it")


def every_book_is_completed_or_failed_for_a_reason(sim: Simulation) -> None:
    rows = sim.world.database.rows("""
        SELECT b.*, s.status, s.version, s.progress,
               b.current_version IS NOT NULL AND EXISTS (
                   SELECT 1 FROM recent_chapters r WHERE r.book_id = b.book_id AND r.version = b.latest_version
                   AND r.embedding_timestamp IS NULL) AS is_partial,
               EXISTS (SELECT 1 FROM dead_letters d
                       WHERE d.book_id = b.book_id AND d.version = b.latest_version AND d.state = 'open') AS has_letter
        FROM books b JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id""")
    for book in rows:
        fine = book["version"] == book["latest_version"] and (
            (
                book["status"] == "completed"
                and (book["current_version"] == book["latest_version"] or book["is_partial"])
            )
            or (book["status"] == "failed" and book["has_letter"])
        )
        if not fine:
            raise Broken("every book ends", f"{book['book_id']} v{book['latest_version']} is {book['status']}")


def what_is_deleted_is_gone(sim: Simulation) -> None:
    """Whatever was written late. Its rows went with its row in `books`; these go by other ways."""
    for book_id in sim.history.deleted:
        found = sim.world.database.rows("SELECT job_id FROM deliveries WHERE job_id LIKE %s", f"%{book_id}%")
        documents = [d.path for d in sim.world.live_documents.all() if _book_of(d) == book_id]
        if found or documents:
            raise Broken("what is deleted is gone", f"{book_id}: {documents}, {found}")


def every_vector_is_its_books_and_known_to_be_used_or_not(sim: Simulation) -> None:
    """A chunk's vector is its book's own, and counts as used; what no chunk has tells since when."""
    for row in sim.world.database.rows("""
        WITH used AS (
            SELECT DISTINCT book_id, sha256(convert_to(chunk_text, 'UTF8')) AS content_hash
            FROM recent_chapters JOIN chapter_chunks USING (chapter_id))
        SELECT coalesce(u.book_id, v.book_id) AS book_id, v.unused_since, u.book_id IS NOT NULL AS is_used
        FROM used u FULL JOIN book_vectors v USING (book_id, content_hash)
        WHERE v.book_id IS NULL OR (u.book_id IS NULL) <> (v.unused_since IS NOT NULL)"""):
        what = f"{row['book_id']}: used by a chunk: {row['is_used']}, unused since {row['unused_since']}"
        raise Broken("every vector is known to be used or not", what)


def what_a_chapter_lacks_is_so(sim: Simulation) -> None:
    """A model refused it, or its job failed, and nothing of that has changed since."""
    for row in sim.world.database.rows("""
        SELECT chapter_id, lacks_metadata, wanted FROM (
            SELECT r.chapter_id, s.lacks_metadata, CASE
                WHEN r.metadata IS NOT NULL THEN NULL WHEN r.metadata_model IS NOT NULL THEN 'blocked'
                ELSE (SELECT state FROM jobs j WHERE j.type = 'chapter-processing'
                      AND j.data->'chapter_ids' ? r.chapter_id::text 
                      ORDER BY j.job_id = 'chapter-' || r.chapter_id DESC LIMIT 1) END AS wanted
            FROM recent_chapters r JOIN books b ON b.book_id = r.book_id AND b.latest_version = r.version
            JOIN processing_status s ON s.entity_id = r.chapter_id) c
        WHERE lacks_metadata IS DISTINCT FROM wanted"""):
        why = f"{row['chapter_id']} lacks {row['lacks_metadata']}, and should {row['wanted']}"
        raise Broken("what a chapter lacks is so", why)


_EXPLAINED = ("LeaseExpired", "DeliveriesExhausted")


def every_dead_letter_is_explained_by_a_fault(sim: Simulation) -> None:
    for letter in sim.world.database.rows("SELECT * FROM dead_letters"):
        if letter["error_class"] not in _EXPLAINED and not letter["message"].startswith("simulated: "):
            why = f"{letter['job_id']}: {letter['error_class']}: {letter['message']}\n{letter['traceback']}"
            raise Broken("dead letters are explained", why)
        if letter["error_class"] == Blocked.__name__:
            raise Broken("a refusal is an answer", f"{letter['job_id']} is a dead letter: {letter['message']}")


def every_message_is_accounted_for(sim: Simulation) -> None:
    for sent in sim.broker.all:
        if sent.fate not in (Fate.ACKNOWLEDGED, Fate.DROPPED, Fate.DEAD):
            raise Broken("every message is accounted for", f"m{sent.number} {sent.job_id} is {sent.fate}")


def embedded_text_is_paid_once(sim: Simulation) -> None:
    _paid_once(sim, names.EMBEDDER)


def extracted_text_is_paid_once(sim: Simulation) -> None:
    _paid_once(sim, names.EXTRACTOR)


def _paid_once(sim: Simulation, model: str) -> None:
    for again in sim.ledger.again:
        if again.model == model:
            what = f"{again.job_id} asked again, but the first {again.why}: {again.key[0]} {again.key[-1][:80]!r}"
            raise Broken("every answer is paid once", what)


def paid_twice(sim: Simulation) -> int:
    """How many answers were paid for again for no reason."""
    return len(sim.ledger.again)


def live_documents_only_move_forward(sim: Simulation) -> None:
    """Only a redrive makes what has ended begin again, and even then progress does not fall. A book that failed may be
    cancelled, since other chapters of it may be under way."""
    last: dict[str, Document] = {}
    for position, taken in enumerate(sim.world.live_documents.taken):
        before = last.pop(taken.path, None)
        if isinstance(taken, Tombstone):
            continue
        last[taken.path] = taken
        if before is None:
            continue
        if taken.revision <= before.revision:
            raise Broken("revisions only rise", f"{taken.path}: {before.revision}, then {taken.revision}")
        book_id = _book_of(taken)
        version = sim.history.version_of(book_id, taken.revision)
        same = taken.fields.get("version") == before.fields.get("version")
        if not same or version != sim.history.version_of(book_id, before.revision):
            continue
        if taken.path.endswith("/live/grid"):
            _compare_states(before, taken)
        else:
            _compare_moments(before, taken, sim.history.was_redriven(book_id, before.revision, position))


def _book_of(document: Document) -> UUID:
    kind, _, rest = document.path.partition("/")
    return UUID(rest.partition("/")[0] if kind == "books" else document.fields["book_id"])


def _compare_moments(before: Document, after: Document, redriven: bool) -> None:
    is_job = before.path.startswith("jobs/")
    old, new = before.fields, after.fields
    if new["progress"] < old["progress"] and not (is_job and redriven):
        raise Broken("progress only rises", f"{before.path}: {old['progress']}, then {new['progress']}")
    state = "state" if is_job else "status"
    called_off = not is_job and (old[state], new[state]) == ("failed", "cancelled")
    if old[state] in ("completed", "failed") and new[state] != old[state] and not redriven and not called_off:
        raise Broken("what has ended stays so", f"{before.path} was {old[state]}, then {new[state]}")


def _compare_states(before: Document, after: Document) -> None:
    for stage in ("metadata", "embeddings"):
        pairs = zip(before.fields[stage], after.fields[stage], strict=bool(before.fields[stage]))
        if lost := [f"{n}: {pair}" for n, pair in enumerate(pairs, 1) if pair[0] == "#" != pair[1]]:
            raise Broken("what a chapter has, it keeps", f"{after.path}, {stage}: {lost}")


def live_documents_equal_their_projections(sim: Simulation) -> None:
    wanted = _projections(sim)
    for path, document in sorted(wanted.items()):
        live = sim.world.live_documents.get(path)
        if live is None or _timeless(live) != _timeless(document):
            raise Broken("live documents are true", f"{path}\n  live:   {live}\n  should: {document}")


def no_live_document_outlives_what_it_shows(sim: Simulation) -> None:
    wanted = _projections(sim)
    for live in sim.world.live_documents.all():
        if live.path not in wanted:
            raise Broken("no live document outlives what it shows", f"{live.path}: {live}")


def _projections(sim: Simulation) -> dict[str, Document]:
    projections, rows = sim.world.api.app.projections, sim.world.database.rows
    found = [d for b in rows("SELECT book_id FROM books") for d in projections.of_book(b["book_id"], chapters=True)]
    for row in rows("SELECT job_id, type, book_id, version, data FROM jobs"):
        job = Job(**row | {"type": JobType(row["type"])})
        found += [d for d in projections.of_jobs([job]) if d.path.startswith("jobs/")]
    return {d.path: d for d in found}


def _timeless(document: Document) -> tuple[int, dict[str, Any]]:
    """Without what is guessed anew at each look."""
    return document.revision, {k: v for k, v in document.fields.items() if k != "eta_seconds"}


def books_are_what_a_run_without_faults_makes_of_them(sim: Simulation) -> None:
    """The last one: it clears the database to compute what it compares with."""
    database = sim.world.database
    books = database.rows("""
        SELECT book_id, version, content FROM books JOIN book_versions USING (book_id)
        WHERE version = latest_version AND current_version = latest_version ORDER BY book_id""")
    damaged = {
        r["book_id"]
        for r in database.rows("""
        SELECT book_id FROM dead_letters d JOIN books b USING (book_id)
        WHERE d.version = b.latest_version AND d.state = 'open' AND d.message NOT LIKE 'simulated: the model refuses%%'""")
    }
    found = [(b, rows_of(database, b["book_id"], b["version"])) for b in books if b["book_id"] not in damaged]
    for book, rows in found:
        wanted = sim.without_faults(book["content"])
        _compare(f"{book['book_id']} v{book['version']}", rows, wanted)


def _compare(name: str, rows: Rows, wanted: Rows) -> None:
    for table, expected in wanted.items():
        for here, there in itertools.zip_longest(rows[table], expected):
            if here != there:
                raise Broken(
                    "books equal a run without faults", f"{name}, {table}\n  is:     {here}\n  should: {there}"
                )


Check = Callable[["Simulation"], None]
AT_THE_END: list[Check] = [
    every_request_is_answered_once,
    every_message_is_accounted_for,
    no_job_is_in_limbo,
    every_dead_letter_is_explained_by_a_fault,
    every_redrive_has_an_end,
    what_a_chapter_lacks_is_so,
    what_can_be_mended_is_mended,
    every_book_is_completed_or_failed_for_a_reason,
    embedded_text_is_paid_once,
    extracted_text_is_paid_once,
    live_documents_only_move_forward,
    live_documents_equal_their_projections,
    no_live_document_outlives_what_it_shows,
    what_is_deleted_is_gone,
    every_vector_is_its_books_and_known_to_be_used_or_not,
    books_are_what_a_run_without_faults_makes_of_them,
]
