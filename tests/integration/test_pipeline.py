"""The pipeline over a real database, with a broker, a clock and models that the test holds."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from shared.domain.stages import JobType
from tests.support.world import World, manuscript

ROWS = """
    SELECT r.chapter_number, r.title, r.content, r.metadata, r.embedding_vector::text AS vector,
           k.chunk_index, k.chunk_text, k.chunk_embedding::text AS chunk_vector
    FROM recent_chapters r LEFT JOIN chapter_chunks k USING (chapter_id)
    WHERE r.book_id = %s AND r.version = %s ORDER BY r.chapter_number, k.chunk_index
"""


def test_a_book_goes_from_import_to_completed(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=5))
    assert world.status(book_id)["status"] == "pending"
    assert world.status(book_id)["progress"] == 0

    world.run()

    status = world.status(book_id)
    assert (status["status"], status["progress"], status["phase"]) == ("completed", 100, "completed")
    chapters = {"total": 5, "done": 5, "processed": 5, "embedded": 5, "failed": 0, "without_metadata": 0}
    assert status["chapters"] == chapters
    rows = world.rows(ROWS, book_id, 1)
    assert {r["chapter_number"] for r in rows} == {1, 2, 3, 4, 5}
    assert all(r["chunk_vector"] and r["vector"] and r["metadata"] for r in rows)
    assert {j["state"] for j in world.rows("SELECT state FROM jobs")} == {"completed"}


def test_every_live_document_equals_its_projection_in_the_end(world: World) -> None:
    book_id = world.import_book(manuscript())
    world.run()
    world.app.reconcile()

    projected = world.app.projections.of_book(UUID(book_id), chapters=True)
    assert len(projected) == 2 + 5
    assert [world.live_documents.get(d.path) for d in projected] == projected
    assert len([d for d in world.live_documents.all() if d.path.startswith("jobs/")]) == len(
        world.rows("SELECT 1 FROM jobs")
    )


def test_progress_and_revisions_only_rise_and_pass_the_milestones(world: World) -> None:
    world.clock.advance(1)
    book_id = world.import_book(manuscript(chapters=12))
    while world.broker.waiting:
        world.deliver(world.broker.waiting.pop(0))
        world.clock.advance(2)

    shown = [d for d in world.live_documents.history if d.path == f"books/{book_id}"]
    progress = [d.fields["progress"] for d in shown]
    assert progress == sorted(progress)
    assert [d.revision for d in shown] == sorted(d.revision for d in shown)
    assert progress[0] == 0
    assert {10, 25, 100} <= set(progress)


def test_a_books_document_has_its_best_summary_from_the_quick_one_on(
    world: World,
) -> None:
    def shown() -> Any:
        found = world.live_documents.get(f"books/{book_id}")
        assert found
        return found.fields["summary"]

    def known(version: int, mode: str) -> Any:
        where = "book_id = %s AND version = %s AND mode = %s"
        (row,) = world.rows(
            f"SELECT context->>'summary' AS summary FROM book_contexts WHERE {where}", book_id, version, mode
        )
        return row["summary"]

    book_id = world.import_book(manuscript(chapters=3))
    before = shown()
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(JobType.CONTEXT_EXTRACTION))
    world.clock.advance(2)  # a document is written once in a second
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    quick = shown()
    world.run()
    full = shown()
    assert (before, quick, full) == (None, known(1, "quick"), known(1, "full"))

    world.import_book(manuscript(chapters=4), book_id=book_id)
    assert shown() == full, "until the new version has one"
    world.run()
    assert shown() == known(2, "full") != full


@pytest.mark.parametrize("seed", range(6))
def test_messages_delivered_twice_and_shuffled_give_the_same_rows_and_pay_once(world: World, seed: int) -> None:
    book_id = world.import_book(manuscript(chapters=7))
    world.run(random.Random(seed), copies=2)

    fresh = world.import_book(manuscript(chapters=7), title="Without faults")
    calls = dict(world.embedder.calls)
    world.run()
    assert world.rows(ROWS, book_id, 1) == world.rows(ROWS, fresh, 1)
    assert set(calls.values()) == {1}
    assert world.extractor.calls["chapter"] == 14
    assert dict(world.embedder.calls) == calls


def test_the_same_import_sent_twenty_times_at_once_is_one_book(world: World) -> None:
    body = {"title": "Once", "content": manuscript(), "google_doc_id": "doc-1"}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: world.post(body).json, range(20)))
    world.run()

    assert len({r["book_id"] for r in replies}) == 1
    assert len({r["job_id"] for r in replies}) == 1
    assert [m.topic for m in world.broker.published].count(JobType.BOOK_PROCESSING) == 1
    assert set(world.embedder.calls.values()) == {1}


def test_an_idempotency_key_returns_the_same_book_and_refuses_another_request(world: World) -> None:
    body = {"title": "Once", "content": manuscript()}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: world.post(body, Idempotency_Key="k1").json, range(12)))
    other = world.post(body | {"title": "Twice"}, Idempotency_Key="k1")

    assert len({(r["book_id"], r["job_id"]) for r in replies}) == 1
    assert len(world.rows("SELECT 1 FROM books")) == 1
    assert other.status_code == 422
    assert world.post(body, user="ben", Idempotency_Key="k1").json["book_id"] != replies[0]["book_id"]


def test_a_reimport_calls_models_for_changed_chapters_alone(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=8), google_doc_id="doc")
    world.run()
    calls, chapters = world.embedder.calls.total(), world.extractor.calls["chapter"]

    assert world.import_book(manuscript(chapters=8, changed=[3]), google_doc_id="doc") == book_id
    world.run()

    assert world.status(book_id)["version"] == 2
    assert world.extractor.calls["chapter"] == chapters + 1
    assert world.embedder.calls.total() - calls == len(world.rows(ROWS + " ", book_id, 2)) - sum(
        r["chapter_number"] != 3 for r in world.rows(ROWS, book_id, 2)
    )
    assert all(r["chunk_vector"] for r in world.rows(ROWS, book_id, 2))


def test_a_forced_reimport_computes_all_again(world: World) -> None:
    book_id = world.import_book(manuscript(), google_doc_id="doc")
    world.run()
    before = world.rows(ROWS, book_id, 1)
    calls = world.embedder.calls.total()

    world.clock.advance(1)
    world.import_book(manuscript(), google_doc_id="doc", force=True)
    world.run()

    assert world.embedder.calls.total() == 2 * calls
    assert world.rows(ROWS, book_id, 2) == before


def test_an_unchanged_reimport_is_the_same_version(world: World) -> None:
    book_id = world.import_book(manuscript(), google_doc_id="doc")
    world.run()

    reply = world.post({"title": "A Book", "content": manuscript(), "google_doc_id": "doc"}).json

    assert (reply["book_id"], reply["version"], reply["status"]) == (book_id, 1, "completed")
    assert not world.broker.waiting


def test_readers_keep_the_old_version_until_the_new_one_is_complete(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=4), google_doc_id="doc")
    world.run()
    world.import_book(manuscript(chapters=6), google_doc_id="doc")
    world.deliver(world.take(JobType.BOOK_PROCESSING))

    assert len(world.get(f"/api/books/{book_id}/chapters").json["chapters"]) == 4
    world.run()
    assert len(world.get(f"/api/books/{book_id}/chapters").json["chapters"]) == 6


def test_messages_of_an_older_version_are_acknowledged_and_change_nothing(world: World) -> None:
    book_id = world.import_book(manuscript(), google_doc_id="doc")
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    old = list(world.broker.waiting)
    world.import_book(manuscript(changed=[1, 2]), google_doc_id="doc")
    world.broker.waiting = [m for m in world.broker.waiting if m not in old]

    assert {world.deliver(m) for m in old} == {204}
    world.run()

    states = world.rows("SELECT DISTINCT state FROM jobs WHERE version = 1 AND type <> 'book-processing'")
    assert [s["state"] for s in states] == ["cancelled"]
    assert world.status(book_id)["status"] == "completed"
    assert world.status(book_id)["version"] == 2
