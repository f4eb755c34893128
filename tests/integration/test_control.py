"""Cancel, resume, retry and delete, as an owner uses them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import UUID

import psycopg
import pytest

from shared.adapters.postgres import control, result_rows
from shared.domain.errors import Unavailable
from shared.domain.stages import JobType
from tests.integration.test_pipeline import ROWS
from tests.support.failing_books import FailingChapters, refuse_vectors
from tests.support.world import World, await_lock, manuscript


def half_done(world: World, chapters: int = 4) -> str:
    """A book that is split, and of which two jobs more are done."""
    book_id = world.import_book(manuscript(chapters=chapters))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    return book_id


def document(world: World, path: str) -> dict[str, object]:
    found = world.live_documents.get(path)
    assert found is not None
    return dict(found.fields)


def test_a_cancelled_book_stands_still_and_its_messages_do_nothing(world: World) -> None:
    book_id = half_done(world)
    assert world.call("POST", f"/api/books/{book_id}/cancel").json["status"] == "cancelled"
    calls = world.extractor.calls.total(), world.embedder.calls.total()
    world.run()

    assert world.status(book_id)["status"] == "cancelled"
    assert (world.extractor.calls.total(), world.embedder.calls.total()) == calls
    assert document(world, f"books/{book_id}")["status"] == "cancelled"
    states = {r["state"] for r in world.rows("SELECT state FROM jobs")}
    assert states == {"completed", "cancelled"}


def test_cancelling_twice_is_the_same_as_once(world: World) -> None:
    book_id = half_done(world)
    assert [world.call("POST", f"/api/books/{book_id}/cancel").status_code for _ in range(2)] == [200, 200]


def test_an_attempt_that_is_under_way_when_its_book_is_cancelled_writes_nothing(world: World) -> None:
    book_id = half_done(world)
    message = world.take(JobType.CHAPTER_PROCESSING)

    def cancel(text: str) -> None:
        world.extractor.before = None
        world.call("POST", f"/api/books/{book_id}/cancel")

    world.extractor.before = cancel
    assert world.deliver(message) == 429
    assert world.deliver(message) == 204
    assert len(world.rows("SELECT 1 FROM recent_chapters WHERE metadata IS NOT NULL")) == 2
    assert world.status(book_id)["status"] == "cancelled"


def test_a_resumed_book_goes_on_where_it_was_and_pays_for_nothing_twice(world: World) -> None:
    book_id = half_done(world)
    world.call("POST", f"/api/books/{book_id}/cancel")
    world.broker.waiting.clear()
    progress = world.status(book_id)["progress"]
    assert world.call("POST", f"/api/books/{book_id}/resume").json["status"] == "processing"
    assert world.status(book_id)["progress"] >= progress
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == 4
    assert set(world.embedder.calls.values()) == {1}


def test_a_message_that_comes_while_its_book_is_resumed_cancels_nothing(world: World) -> None:
    """It found its job cancelled, and waited for the book."""
    book_id = world.import_book(manuscript(chapters=1))
    message = world.take(JobType.BOOK_PROCESSING)
    world.call("POST", f"/api/books/{book_id}/cancel")

    with ThreadPoolExecutor(2) as pool, psycopg.connect(world.dsn) as holding:
        holding.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (message.data["job_id"],))
        resumed = pool.submit(world.call, "POST", f"/api/books/{book_id}/resume")
        await_lock(world)
        late = pool.submit(world.deliver, message)
        await_lock(world, sessions=2)
        holding.rollback()
        assert (resumed.result(60).status_code, late.result(60)) == (200, 204)
    world.run()

    assert world.status(book_id)["status"] == "completed"


def test_a_book_that_is_done_but_for_its_quick_context_is_not_cancelled_and_can_be_retried(world: World) -> None:
    broken = FailingChapters(world, 3)
    book_id = world.import_book(manuscript(chapters=12))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    quick = world.take(JobType.CONTEXT_EXTRACTION)
    world.run()
    assert world.status(book_id)["status"] == "completed"

    refused = world.call("POST", f"/api/books/{book_id}/cancel")
    assert (refused.status_code, refused.json["detail"]) == (409, "the book is completed: there is nothing to cancel")
    broken.numbers.clear()
    assert len(world.call("POST", f"/api/books/{book_id}/retry").json["accepted"]) == 1
    assert world.deliver(quick) == 204
    world.run()
    assert world.status(book_id)["chapters"]["without_metadata"] == 0


def test_a_book_that_is_done_can_neither_be_cancelled_nor_resumed_nor_retried(world: World) -> None:
    book_id = world.import_book(manuscript(2))
    world.run()
    for action in ("cancel", "resume", "retry"):
        reply = world.call("POST", f"/api/books/{book_id}/{action}")
        assert reply.status_code == 409, action
        assert "nothing" in reply.json["detail"]


def test_a_book_cancelled_before_its_split_resumes_too(world: World) -> None:
    book_id = world.import_book(manuscript(2))
    world.call("POST", f"/api/books/{book_id}/cancel")
    world.run()
    assert world.status(book_id)["status"] == "cancelled"
    world.call("POST", f"/api/books/{book_id}/resume")
    world.run()
    assert world.status(book_id)["status"] == "completed"


def test_retry_does_what_failed_and_only_that_and_the_book_heals(world: World) -> None:
    refused, broken = refuse_vectors(world, 4, 5), FailingChapters(world, 5)
    book_id = world.import_book(manuscript(chapters=6))
    world.run()
    assert world.status(book_id)["status"] == "failed"
    calls = world.extractor.calls["chapter"]

    refused.clear()
    broken.numbers.clear()
    reply = world.call("POST", f"/api/books/{book_id}/retry").json
    assert len(reply["accepted"]) == 3
    world.run()

    status = world.status(book_id)
    assert (status["status"], status["progress"], status["error"]) == ("completed", 100, None)
    assert (status["chapters"]["done"], status["chapters"]["without_metadata"]) == (6, 0)
    assert world.extractor.calls["chapter"] == calls + 1
    assert set(world.embedder.calls.values()) == {1}
    whole = world.import_book(manuscript(chapters=6), title="Without faults")
    world.run()
    assert world.rows(ROWS, book_id, 1) == world.rows(ROWS, whole, 1)


def test_a_deleted_book_is_gone_everywhere(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    world.run()
    assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204

    assert world.get(f"/api/books/{book_id}/status").status_code == 404
    for table in ("books", "book_versions", "recent_chapters", "chapter_chunks", "jobs", "processing_status"):
        assert world.rows(f"SELECT 1 FROM {table}") == [], table
    for table in ("book_vectors", "answers", "book_contexts", "deliveries"):
        assert world.rows(f"SELECT 1 FROM {table}") == [], table
    assert world.live_documents.all() == []


def test_a_late_message_brings_nothing_of_a_deleted_book_back(world: World) -> None:
    book_id = half_done(world)
    message = world.take(JobType.CHAPTER_PROCESSING)

    def delete(text: str) -> None:
        world.extractor.before = None
        assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204

    world.extractor.before = delete
    world.deliver(message)
    world.run()
    world.app.reconcile()

    assert world.rows("SELECT 1 FROM books") == []
    assert world.rows("SELECT 1 FROM answers") == []
    assert world.live_documents.all() == []
    assert world.rows("SELECT 1 FROM dead_letters") == []


def test_a_document_written_late_is_deleted_by_reconcile(world: World) -> None:
    book_id = half_done(world)
    late = world.app.projections.of_book(UUID(book_id), chapters=True)
    world.call("DELETE", f"/api/books/{book_id}")
    world.live_documents.put(late)
    assert world.live_documents.all() != []

    world.app.reconcile()
    assert world.live_documents.all() == []


def test_a_book_can_be_imported_again_after_it_was_deleted(world: World) -> None:
    book_id = world.import_book(manuscript(3), google_doc_id="doc")
    world.run()
    world.call("DELETE", f"/api/books/{book_id}")
    assert world.import_book(manuscript(2), google_doc_id="doc") == book_id
    world.run()
    world.app.reconcile()

    assert world.status(book_id)["status"] == "completed"
    assert document(world, f"books/{book_id}")["status"] == "completed"
    chapters = [d.path for d in world.live_documents.all() if "/chapters/" in d.path]
    assert len(chapters) == 2


def test_chapters_that_a_new_version_has_no_more_are_not_shown_any_more(world: World) -> None:
    book_id = world.import_book(manuscript(5), google_doc_id="doc")
    world.run()
    world.import_book(manuscript(3), google_doc_id="doc")
    world.run()
    assert len([d for d in world.live_documents.all() if "/chapters/" in d.path]) == 3

    world.import_book(manuscript(4), google_doc_id="doc")
    world.run()
    world.app.reconcile()
    assert len([d for d in world.live_documents.all() if "/chapters/" in d.path]) == 4
    assert world.status(book_id)["version"] == 3


def test_an_administrator_may_manage_any_book_and_others_only_their_own(world: World) -> None:
    book_id = half_done(world)
    for method, path in (("POST", "cancel"), ("POST", "resume"), ("POST", "retry"), ("DELETE", "")):
        reply = world.call(method, f"/api/books/{book_id}/{path}".rstrip("/"), user="ben")
        assert reply.status_code == 404
    assert world.call("POST", f"/api/books/{book_id}/cancel", user="root").status_code == 200
    assert world.call("DELETE", f"/api/books/{book_id}", user="root").status_code == 204


def test_a_book_is_deleted_while_an_attempt_at_it_writes_its_result(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may wait for each other, and PostgreSQL ends one of them."""
    book_id = half_done(world)
    message = world.take(JobType.EMBEDDING_GENERATION)
    write, at, go = result_rows.write, Event(), Event()

    def write_and_wait(*about: Any) -> None:
        write(*about)
        at.set()
        assert go.wait(20)

    monkeypatch.setattr(result_rows, "write", write_and_wait)
    with ThreadPoolExecutor(2) as pool:
        delivered = pool.submit(world.deliver, message)
        assert at.wait(20)
        deleted = pool.submit(world.call, "DELETE", f"/api/books/{book_id}")
        await_lock(world)
        go.set()
        assert (delivered.result(30), deleted.result(30).status_code) == (429, 204)
    world.run()
    assert world.rows("SELECT 1 FROM books") == []
    assert world.rows("SELECT 1 FROM jobs") == []


def test_a_book_whose_deletion_failed_is_cancelled_and_can_be_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_id = half_done(world)

    def fail(*about: Any) -> None:
        raise Unavailable("PostgreSQL: it can not be reached")

    with monkeypatch.context() as patch:
        patch.setattr(control, "add_book_tombstones", fail)
        assert world.call("DELETE", f"/api/books/{book_id}").status_code == 503
    assert world.status(book_id)["status"] == "cancelled"

    assert world.call("POST", f"/api/books/{book_id}/resume").json["status"] == "processing"
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204
