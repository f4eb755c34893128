"""What a run without faults makes of a text: computed once for each text, by the same code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.world import World, clear

CHAPTERS = """
    SELECT r.chapter_number, r.title, r.content_hash, r.start_offset, r.end_offset, r.word_count, r.metadata,
           r.metadata_model, s.status, s.lacks_metadata, md5(r.embedding_vector::text) AS vector, r.embedding_model,
           r.embedding_version,
           k.chunk_index, k.chunk_text, k.word_count AS chunk_words, k.start_offset AS chunk_start,
           md5(k.chunk_embedding::text) AS chunk_vector, k.embedding_model AS chunk_model
    FROM recent_chapters r JOIN processing_status s ON s.entity_id = r.chapter_id
    LEFT JOIN chapter_chunks k USING (chapter_id)
    WHERE r.book_id = %s AND r.version = %s ORDER BY r.chapter_number, k.chunk_index
"""
CONTEXTS = "SELECT mode, model, context FROM book_contexts WHERE book_id = %s AND version = %s ORDER BY mode"
VERSION = """
    SELECT v.split_method, v.front_matter, v.back_matter, b.total_word_count
    FROM book_versions v JOIN books b USING (book_id) WHERE book_id = %s AND version = %s
"""

Rows = dict[str, list[dict[str, Any]]]

BuildWorld = Callable[[SimulatedDatabase, str, tuple[str, ...]], World]

_known: dict[tuple[str, Sequence[str]], Rows] = {}


def rows_of(database: SimulatedDatabase, book_id: UUID, version: int) -> Rows:
    """All that a reader could see of a version, without ids and times."""
    queries = {"chapters": CHAPTERS, "contexts": CONTEXTS, "version": VERSION}
    return {name: database.rows(query, book_id, version) for name, query in queries.items()}


def fault_free(database: SimulatedDatabase, text: str, refused: tuple[str, ...], build_world: BuildWorld) -> Rows:
    """Clears the database to compute what is not known yet."""
    key = (text, refused)
    if key not in _known:
        clear(database)
        _known[key] = _run(database, text, build_world(database, "baseline", refused))
    return _known[key]


def _run(database: SimulatedDatabase, text: str, world: World) -> Rows:
    world.boundary.faulty = False
    reply = world.api.app.api.test_client().post(
        "/api/books/import",
        json={"title": "Without faults", "content": text},
        headers={"Authorization": "Bearer baseline"},
    )
    assert reply.status_code == 202, reply.text
    while world.broker.waiting:
        sent = world.broker.waiting[0]
        world.broker.take(sent)
        assert world.processes[0].deliver(sent) == 204
    book_id = UUID(reply.get_json()["book_id"])
    (status,) = database.rows("SELECT status FROM processing_status WHERE entity_id = %s", book_id)
    assert status["status"] == "completed", status
    return rows_of(database, book_id, 1)
