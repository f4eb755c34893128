"""The document that packs how far each chapter of a book is in each stage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from shared.domain.errors import Blocked, Rejected
from shared.domain.stages import HEARTBEAT_SECONDS, JobType
from shared.ports import Document
from tests.support.failing_books import refuse_vectors
from tests.support.world import World, manuscript


def states(world: World, book_id: str) -> tuple[str, str]:
    """A character a chapter: of metadata, and of embeddings."""
    document = world.live_documents.get(f"books/{book_id}/live/grid")
    assert document is not None
    return document.fields["metadata"], document.fields["embeddings"]


def split(world: World, chapters: int) -> str:
    book_id = world.import_book(manuscript(chapters))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.clock.advance(1)
    return book_id


def raising(error: Exception) -> Callable[[Any], None]:
    def fail(about: Any) -> None:
        raise error

    return fail


def test_it_is_there_from_the_beginning_and_names_each_chapter_once_they_are_known(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    first = states(world, book_id)
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    second = states(world, book_id)
    world.run()

    assert (first, second, states(world, book_id)) == (("", ""), ("...", "..."), ("###", "###"))


def test_it_shows_what_is_under_way_and_what_is_tried_again(world: World) -> None:
    book_id = split(world, 3)
    seen: list[tuple[str, str]] = []
    world.extractor.before = lambda text: seen.append(states(world, book_id))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    world.clock.advance(1)
    world.extractor.before = raising(RuntimeError("out of order"))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    seen.append(states(world, book_id))
    world.clock.advance(1)
    world.embedder.before = lambda texts: seen.append(states(world, book_id))
    world.deliver(world.take(JobType.EMBEDDING_GENERATION))

    assert seen == [(">..", "..."), ("#~.", "..."), ("#~.", ">>>")]


def test_it_shows_what_failed_and_what_a_model_refuses(world: World) -> None:
    book_id = split(world, 4)
    refuse_vectors(world, 3)
    for error in (Rejected("no"), Blocked("no")):
        world.extractor.before = raising(error)
        world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    world.extractor.before = None
    world.run()
    world.clock.advance(60)
    world.app.reconcile()

    assert states(world, book_id) == ("!-##", "##!#")


def test_it_shows_what_was_called_off(world: World) -> None:
    book_id = split(world, 3)
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    world.call("POST", f"/api/books/{book_id}/cancel")

    assert states(world, book_id) == ("#xx", "xxx")


def test_until_a_new_version_is_split_it_shows_the_chapters_that_there_are(world: World) -> None:
    book_id = world.import_book(manuscript(3), google_doc_id="doc")
    world.run()
    world.import_book(manuscript(2, changed=[2]), google_doc_id="doc")
    before = states(world, book_id)
    world.deliver(world.take(JobType.BOOK_PROCESSING))

    assert (before, states(world, book_id)) == (("###", "###"), ("#.", "#."))


def test_what_was_held_back_is_shown_while_the_work_goes_on(world: World) -> None:
    """Two jobs begin in the same second: the first one's claim is shown at once."""
    book_id = split(world, 3)
    seen: list[tuple[str, str]] = []

    def second(text: str) -> None:
        seen.append(states(world, book_id))
        world.clock.advance(HEARTBEAT_SECONDS)
        world.app.refresh.beat()
        seen.append(states(world, book_id))

    def first(text: str) -> None:
        world.extractor.before = second
        world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    world.extractor.before = first
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    assert seen == [(">..", "..."), (">>.", "...")]


def test_it_is_shown_by_itself(world: World) -> None:
    book_id = split(world, 2)
    shown = threading.Event()

    def hear(document: Document) -> None:
        if document.fields["metadata"] == ">>":
            shown.set()

    def second(text: str) -> None:
        world.clock.advance(1)
        assert shown.wait(30)

    def first(text: str) -> None:
        world.extractor.before = second
        world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    world.app.refresh.seconds = 0.01
    world.live_documents.listen(f"books/{book_id}/live/grid", hear)
    world.extractor.before = first
    assert world.deliver(world.take(JobType.CHAPTER_PROCESSING)) == 204


def test_a_book_on_which_nothing_new_happens_is_not_written_again(world: World) -> None:
    split(world, 2)
    written: list[int] = []

    def slow(text: str) -> None:
        for _ in range(3):
            world.clock.advance(HEARTBEAT_SECONDS)
            world.app.refresh.beat()
            written.append(len(world.live_documents.history))

    world.extractor.before = slow
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    assert len(set(written)) == 1


def test_a_chapter_that_is_merely_under_way_has_no_document_written(world: World) -> None:
    book_id = world.import_book(manuscript(5))
    world.run()

    of_chapters = [d.path for d in world.live_documents.history if "/chapters/" in d.path]
    assert sorted(of_chapters) == sorted(2 * [f"books/{book_id}/chapters/{n:04d}" for n in range(1, 6)])


def test_a_chapter_that_is_under_way_for_long_is_written_by_reconcile(world: World) -> None:
    book_id = split(world, 2)

    def slow(text: str) -> None:
        world.clock.advance(10)
        world.app.reconcile()

    world.extractor.before = slow
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    shown = [d for d in world.live_documents.history if d.path == f"books/{book_id}/chapters/0001"]

    assert [d.fields["status"] for d in shown] == ["pending", "processing"]
