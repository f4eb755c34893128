"""Importing the same text, or a next version, when something failed."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.errors import Rejected
from tests.support.failing_books import list_dead_letters, refuse_vectors
from tests.support.world import World, manuscript

TEXT = manuscript(chapters=4)


def failed(world: World) -> tuple[str, set[int]]:
    """A book that failed by two of its chapters, and the set of those that are refused."""
    refused = refuse_vectors(world, 1, 2)
    book_id = world.import_book(TEXT)
    world.run()
    assert world.status(book_id)["status"] == "failed"
    return book_id, refused


def test_an_equal_text_starts_again_what_failed(world: World) -> None:
    book_id, refused = failed(world)
    refused.clear()
    before = world.extractor.calls["chapter"]
    reply = world.post({"content": TEXT, "book_id": book_id})

    assert (reply.status_code, reply.json["status"], reply.json["version"]) == (202, "processing", 1)
    assert world.status(book_id)["status"] == "processing", "whoever asks next does not take it for failed"
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == before, "their metadata was there"
    assert list_dead_letters(world, state="open") == []


def test_a_request_that_is_repeated_starts_nothing(world: World) -> None:
    refused = refuse_vectors(world, 1, 2)
    body = {"content": TEXT, "title": "A Book"}
    book_id = world.post(body, Idempotency_Key="one").json["book_id"]
    world.run()
    refused.clear()

    assert world.post(body, Idempotency_Key="one").json["status"] == "failed"
    assert world.broker.waiting == []
    assert world.status(book_id)["status"] == "failed"


def test_an_equal_text_of_another_user_starts_nothing_of_this_one(world: World) -> None:
    book_id, _ = failed(world)

    assert world.post({"content": TEXT, "book_id": book_id}, user="ben").status_code == 404
    world.run()
    assert world.status(book_id)["status"] == "failed"


def refuse_a_chapter(world: World) -> None:
    def refuse(texts: Sequence[str]) -> None:
        if any(t.startswith("CHAPTER 12\n") for t in texts):
            raise Rejected("the model refuses this text")

    world.embedder.before = refuse


def readers_see(world: World, book_id: str) -> int:
    version: int = world.get(f"/api/books/{book_id}").json["current_version"]
    return version


def test_a_complete_version_is_not_replaced_by_one_that_lacks_chapters_until_it_has_them(world: World) -> None:
    book_id = world.import_book(manuscript(11))
    world.run()
    refuse_a_chapter(world)
    world.import_book(manuscript(12), book_id=book_id)
    world.run()

    status = world.status(book_id)
    assert (status["status"], status["version"], status["current_version"]) == ("completed", 2, 1)
    assert status["chapters"]["failed"] == 1
    assert len(world.get(f"/api/books/{book_id}/chapters").json["chapters"]) == 11
    world.embedder.before = None
    assert world.call("POST", f"/api/books/{book_id}/retry").status_code in (200, 202)
    world.run()
    assert readers_see(world, book_id) == 2


def test_a_version_that_lacks_chapters_is_shown_if_that_was_asked_for(world: World) -> None:
    book_id = world.import_book(manuscript(11))
    world.run()
    refuse_a_chapter(world)
    world.import_book(manuscript(12), book_id=book_id, allow_partial=True)
    world.run()

    assert readers_see(world, book_id) == 2


def test_one_that_lacks_chapters_is_replaced_by_another_that_does(world: World) -> None:
    refuse_a_chapter(world)
    book_id = world.import_book(manuscript(12))
    world.run()
    assert readers_see(world, book_id) == 1
    world.import_book(manuscript(13), book_id=book_id)
    world.run()

    assert readers_see(world, book_id) == 2
