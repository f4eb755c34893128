"""What must hold in the end, in plain SQL and Python: no code of the product is asked what is right."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.broker import Fate
from tests.simulation.invariants import Broken
from tests.simulation.real import contents, documents
from tests.simulation.real.history import SELECT_READERS_OF_INCOMPLETE_VERSIONS

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation

# A model's refusal stays so; what failed without a reason of its own stays until an operator looks at it.
FINAL = ("simulated: the model will not: reject", "simulated: something odd")

SELECT_JOBS_IN_LIMBO = """
    SELECT j.job_id, j.state, j.lease, j.permitted_at FROM jobs j JOIN books b USING (book_id)
    WHERE j.state NOT IN ('completed', 'failed', 'cancelled') OR j.lease IS NOT NULL OR j.permitted_at IS NOT NULL
       OR j.state = 'cancelled' AND j.version = b.latest_version
       OR j.state = 'failed' AND j.version = b.latest_version AND NOT EXISTS (
            SELECT 1 FROM dead_letters d WHERE d.job_id = j.job_id AND d.state = 'open')
"""
SELECT_BOOKS_WITHOUT_AN_END = """
    SELECT b.book_id, s.status, s.version, b.latest_version FROM books b
    LEFT JOIN processing_status s ON s.entity_type = 'book' AND s.entity_id = b.book_id
    WHERE s.status IS NULL OR s.version <> b.latest_version OR s.status NOT IN ('completed', 'failed')
       OR s.status = 'failed' AND NOT EXISTS (
            SELECT 1 FROM dead_letters d WHERE d.book_id = b.book_id AND d.version = b.latest_version
            AND d.state = 'open')
"""
SELECT_OPEN_LETTERS = """
    SELECT d.job_id, d.error_class, d.message, d.traceback FROM dead_letters d LEFT JOIN books b USING (book_id)
    WHERE d.state IN ('open', 'redriven') AND (b.book_id IS NULL OR d.version = b.latest_version)
"""
# A redrive by reconcile has an outcome, as any other.
SELECT_ACTIONS_WITHOUT_AN_END = "SELECT action_id, outcome FROM dead_letter_actions WHERE finished_at IS NULL"
# What a chunk has is known to be used, and what none has tells since when.
SELECT_VECTORS_WITHOUT_THEIR_USE = """
    WITH used AS (
        SELECT DISTINCT book_id, sha256(convert_to(chunk_text, 'UTF8')) AS content_hash
        FROM recent_chapters JOIN chapter_chunks USING (chapter_id))
    SELECT coalesce(u.book_id, v.book_id) AS book_id, v.unused_since, u.book_id IS NOT NULL AS is_used
    FROM used u FULL JOIN book_vectors v USING (book_id, content_hash)
    WHERE v.book_id IS NULL OR (u.book_id IS NULL) <> (v.unused_since IS NOT NULL)
"""
_NONE_OF = (
    ("no job is in limbo", SELECT_JOBS_IN_LIMBO),
    ("every book ends", SELECT_BOOKS_WITHOUT_AN_END),
    ("every redrive has an end", SELECT_ACTIONS_WITHOUT_AN_END),
    ("readers see complete versions", SELECT_READERS_OF_INCOMPLETE_VERSIONS),
    ("every vector is known to be used or not", SELECT_VECTORS_WITHOUT_THEIR_USE),
)


def check(sim: RealSimulation) -> None:
    """Raises Broken."""
    sim.look()
    rows = sim.watch.rows("SELECT status FROM processing_status WHERE entity_type = 'book'")
    sim.books = Counter(r["status"] for r in rows)
    for invariant, query in _NONE_OF:
        for row in sim.watch.rows(query):
            raise Broken(invariant, f"{row}")
    _what_failed_failed_for_a_reason(sim)
    _every_answer_is_paid_once(sim)
    _every_message_is_accounted_for(sim)
    _every_connection_is_back(sim)
    contents.check(sim)
    documents.check(sim)


def _what_failed_failed_for_a_reason(sim: RealSimulation) -> None:
    """`reconcile` alone has mended all that time can mend."""
    for letter in sim.watch.rows(SELECT_OPEN_LETTERS):
        if not letter["message"].startswith(FINAL):
            what = f"{letter['job_id']}: {letter['error_class']}: {letter['message']}\n{letter['traceback']}"
            raise Broken("what time can mend is mended", what)


def _every_answer_is_paid_once(sim: RealSimulation) -> None:
    for again in sim.ledger.again:
        raise Broken("every answer is paid once", again)


def _every_message_is_accounted_for(sim: RealSimulation) -> None:
    for sent in sim.broker.all:
        if sent.fate not in (Fate.ACKNOWLEDGED, Fate.DROPPED, Fate.DEAD):
            raise Broken("every message is accounted for", f"m{sent.number} {sent.job_id} is {sent.fate}")


def _every_connection_is_back(sim: RealSimulation) -> None:
    for process in [*sim.processes, sim.api]:
        if process.database.lent:
            raise Broken("every connection is back", f"{process.name} has lent {process.database.lent}")
