"""One job makes several calls of its model at once: about chapters, or for requests of passages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from shared.adapters.fake_models import FakeEmbedder
from shared.domain.embeddings import EmbeddingModel
from shared.domain.errors import Blocked, ModelUnavailable
from shared.domain.stages import JobType
from shared.pipeline.at_once import at_once
from tests.support.failing_books import chapters, failed_book, list_dead_letters, redrive
from tests.support.world import World, manuscript

CHAPTER = JobType.CHAPTER_PROCESSING
IDS = "SELECT job_id, state, result FROM jobs WHERE type = 'chapter-processing' ORDER BY created_at, job_id"


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    world = World(dsn, calls_at_once=5)
    yield world
    world.close()


def is_chapter(text: str) -> bool:
    """And not the beginning of a book, or its title."""
    return text.count("CHAPTER ") == 1


def numbers_without_metadata(world: World, book_id: str) -> list[int]:
    return [c["number"] for c in chapters(world, book_id) if c["metadata"] is None]


def chapters_of_dead_letters(world: World) -> list[int]:
    return [len(r["payload"]["chapter_ids"]) for r in world.rows("SELECT payload FROM dead_letters")]


def test_a_job_asks_about_as_many_chapters_as_is_set_at_once(dsn: str) -> None:
    together = threading.Barrier(5)
    world = World(dsn, overrides={"at_once": at_once}, calls_at_once=5)

    def wait_for_the_others(text: str) -> None:
        if is_chapter(text):
            together.wait(20)

    world.extractor.before = wait_for_the_others
    book_id = world.import_book(manuscript(chapters=10))
    world.run()
    world.close()

    assert world.extractor.calls["chapter"] == 10
    assert [job["result"] for job in world.rows(IDS)] == [{"chapters": 5, "blocked": [], "alone": 0}] * 2
    assert world.rows("SELECT count(*) FROM recent_chapters WHERE metadata IS NULL") == [{"count": 0}]
    assert world.rows("SELECT status FROM processing_status WHERE entity_id = %s", book_id) == [{"status": "completed"}]


def test_a_chapter_that_fails_among_others_has_a_job_of_its_own(world: World) -> None:
    book_id, broken = failed_book(world, 3, 7, chapters=10)

    assert world.status(book_id)["status"] == "completed"
    assert numbers_without_metadata(world, book_id) == [3, 7]
    assert chapters_of_dead_letters(world) == [1, 1]
    assert world.extractor.calls["chapter"] == 8

    broken.numbers = set()
    redrive(world, all=True)
    world.run()
    assert numbers_without_metadata(world, book_id) == []
    assert world.extractor.calls["chapter"] == 10
    assert {job["state"] for job in world.rows(IDS)} == {"completed"}


def test_what_failed_among_others_is_tried_as_often_as_what_failed_alone(world: World) -> None:
    failed_book(world, 3, chapters=5, error=OSError)
    (letter,) = list_dead_letters(world, user="root")
    assert (letter["attempts"], letter["technical"]["error_class"]) == (3, "OSError")


def test_a_chapter_that_is_refused_among_others_takes_none_of_them_along(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=5, error=Blocked)

    assert world.status(book_id)["status"] == "completed"
    (group,) = world.rows(IDS)
    assert group["result"] == {"chapters": 4, "blocked": ["the model refuses chapter 3"], "alone": 0}
    assert numbers_without_metadata(world, book_id) == [3]


def test_chapters_that_read_the_same_are_asked_about_once(world: World) -> None:
    text = manuscript(chapters=1)
    book_id = world.import_book(text + "\n" + text + "\n" + manuscript(chapters=1, name="other"))
    world.run()
    assert len(chapters(world, book_id)) == 3
    assert world.extractor.calls["chapter"] == 2
    assert numbers_without_metadata(world, book_id) == []


def test_a_model_that_is_away_keeps_what_it_answered_and_is_asked_by_one_call_first(world: World) -> None:
    asked: list[str] = []
    away = True

    def ask(text: str) -> None:
        if not is_chapter(text):
            return
        asked.append(text.split("\n")[0])
        if away and not text.startswith("CHAPTER 1\n"):
            raise ModelUnavailable("429")

    world.extractor.before = ask
    book_id = world.import_book(manuscript(chapters=5))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(CHAPTER))

    # Four failures are enough to know that it is away.
    assert asked == [f"CHAPTER {n}" for n in range(1, 6)]
    opened = "SELECT opened_at IS NOT NULL AS is_open FROM dependencies WHERE name = 'generating-model'"
    assert world.rows(opened) == [{"is_open": True}]

    asked.clear()
    world.clock.advance(60)
    world.deliver(world.take(CHAPTER))
    assert asked == ["CHAPTER 2"]

    away = False
    world.clock.advance(60)
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == 5


def test_a_group_that_is_given_up_leaves_all_its_chapters_without_metadata(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    group = world.take(CHAPTER)
    marks = {"CloudPubSubDeadLetterSourceSubscription": "chapter-processing-push"}
    world.broker.waiting.append(type(group)(topic=JobType.DEAD_LETTER, data=group.data, attributes=marks))
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert numbers_without_metadata(world, book_id) == [1, 2, 3]
    assert chapters_of_dead_letters(world) == [3]

    redrive(world, all=True)
    world.run()
    assert numbers_without_metadata(world, book_id) == []


class SmallRequests(FakeEmbedder):
    """Takes one text at a time, so that each chapter of one passage is a request."""

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_texts=1, max_request_tokens=500)


def test_a_job_embeds_by_as_many_requests_as_is_set_at_once(dsn: str) -> None:
    together = threading.Barrier(4)

    def wait_for_the_others(texts: Sequence[str]) -> None:
        together.wait(20)

    embedder = SmallRequests(before=wait_for_the_others)
    with closing(World(dsn, embedder, overrides={"at_once": at_once}, calls_at_once=4)) as world:
        book_id = world.import_book(manuscript(chapters=8, words=180))
        world.run()
        jobs = world.rows("SELECT result FROM jobs WHERE type = 'embedding-generation'")

        assert world.status(book_id)["chapters"]["embedded"] == 8
        assert [job["result"]["chapters"] for job in jobs] == [4, 4]


def test_requests_that_were_answered_are_kept_when_others_were_not(dsn: str) -> None:
    away = True

    def answer_the_first(texts: Sequence[str]) -> None:
        asked.append(texts[0].split("\n")[0])
        if away and not texts[0].startswith("CHAPTER 1\n"):
            raise ModelUnavailable("429")

    asked: list[str] = []
    with closing(World(dsn, SmallRequests(before=answer_the_first), calls_at_once=4)) as world:
        book_id = world.import_book(manuscript(chapters=4, words=180))
        world.deliver(world.take(JobType.BOOK_PROCESSING))
        world.deliver(world.take(JobType.EMBEDDING_GENERATION))
        assert asked == [f"CHAPTER {n}" for n in range(1, 5)]

        asked.clear()
        world.clock.advance(60)
        world.deliver(world.take(JobType.EMBEDDING_GENERATION))
        assert asked == ["CHAPTER 2"]

        away = False
        world.clock.advance(60)
        world.run()
        assert world.status(book_id)["status"] == "completed"
        assert set(world.embedder.calls.values()) == {1}
