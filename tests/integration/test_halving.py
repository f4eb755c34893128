"""Requests that the model rejects are halved: each half that it takes is kept, and only a text that it refuses fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from shared.domain.errors import Rejected, Unavailable
from shared.domain.stages import JobType
from tests.support.world import World, manuscript


def too_large(limit: int) -> Callable[[Sequence[str]], None]:
    def refuse(texts: Sequence[str]) -> None:
        if len(texts) > limit:
            raise Rejected("the request is too large")

    return refuse


def outcome(world: World, book_id: str) -> tuple[str, int]:
    status = world.status(book_id)
    return status["status"], status["chapters"]["failed"]


@pytest.mark.parametrize("limit", [1, 3])
def test_a_request_that_is_too_large_is_halved_until_it_fits(world: World, limit: int) -> None:
    world.embedder.before = too_large(limit)
    book_id = world.import_book(manuscript(chapters=4, words=900))
    world.run()

    assert outcome(world, book_id) == ("completed", 0)
    assert set(world.embedder.calls.values()) == {1}
    assert world.rows("SELECT 1 FROM jobs WHERE attempts > 1") == []


def test_a_chapter_alone_is_halved_too(world: World) -> None:
    world.embedder.before = too_large(2)
    book_id = world.import_book(manuscript(chapters=1, words=1_800))
    world.run()

    assert outcome(world, book_id) == ("completed", 0)
    assert set(world.embedder.calls.values()) == {1}


def test_halves_that_were_taken_before_a_service_failed_are_not_paid_again(world: World) -> None:
    refuse, faults = too_large(3), iter([None, None, Unavailable("down")])

    def fail_once(texts: Sequence[str]) -> None:
        refuse(texts)
        if error := next(faults, None):
            raise error

    world.embedder.before = fail_once
    book_id = world.import_book(manuscript(chapters=2, words=1_800))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)
    assert world.deliver(message) == 204
    assert message in world.broker.waiting
    assert world.embedder.calls
    world.run()

    assert outcome(world, book_id) == ("completed", 0)
    assert set(world.embedder.calls.values()) == {1}


def test_a_text_that_is_refused_alone_fails_its_chapter_alone(world: World) -> None:
    def refuse(texts: Sequence[str]) -> None:
        if any("CHAPTER 4\n" in t for t in texts):
            raise Rejected("the text is too long")

    world.embedder.before = refuse
    book_id = world.import_book(manuscript(chapters=12))
    world.run()

    assert outcome(world, book_id) == ("completed", 1)
    assert set(world.embedder.calls.values()) == {1}
    (letter,) = world.get("/api/dead-letters", user="root").json["dead_letters"]
    assert letter["technical"]["message"] == "the text is too long"


def test_nothing_more_is_paid_for_a_chapter_that_has_failed(world: World) -> None:
    def refuse(texts: Sequence[str]) -> None:
        if any("CHAPTER 1\n" in t for t in texts):
            raise Rejected("the text is too long")

    world.embedder.before = refuse
    book_id = world.import_book(manuscript(chapters=1, words=1_800))
    world.run()

    assert outcome(world, book_id)[0] == "failed"
    assert not world.embedder.calls
