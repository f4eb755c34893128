"""What a new version takes over of an earlier one: metadata and vectors, each for itself."""

from __future__ import annotations

from contextlib import closing

import pytest

from shared.adapters.fake_models import FakeContextExtractor
from shared.domain.stages import JobType
from tests.support.deployments import forget_answers, with_another_embedder
from tests.support.failing_books import list_dead_letters, redrive, refuse_vectors
from tests.support.world import World, manuscript

OLD, NEW = manuscript(chapters=4), manuscript(chapters=4, changed=[4])


def import_old(world: World) -> str:
    book_id = world.import_book(OLD)
    world.run()
    forget_answers(world)
    world.extractor.calls.clear()
    world.embedder.calls.clear()
    return book_id


def split(world: World, book_id: str, text: str = NEW) -> None:
    """Import the next version, and split it."""
    world.import_book(text, book_id=book_id)
    assert world.deliver(world.take(JobType.BOOK_PROCESSING)) == 204


def statuses(world: World, version: int) -> list[tuple[str, str, int]]:
    rows = world.rows(
        """SELECT s.status, s.phase, s.progress FROM processing_status s
           JOIN recent_chapters r ON r.chapter_id = s.entity_id WHERE r.version = %s ORDER BY chapter_number""",
        version,
    )
    return [(r["status"], r["phase"], r["progress"]) for r in rows]


def embedded_chapters(world: World) -> set[str]:
    return {text.partition("\n")[0] for text in world.embedder.calls if text.startswith("CHAPTER")}


def test_another_extractor_reads_unchanged_chapters_anew_and_their_vectors_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_id = import_old(world)
    monkeypatch.setattr(FakeContextExtractor, "model", property(lambda self: "fake/2"))
    world.import_book(NEW, book_id=book_id)
    world.run()

    assert world.extractor.calls["chapter"] == 4
    assert embedded_chapters(world) == {"CHAPTER 4"}
    assert world.status(book_id)["status"] == "completed"


def test_another_embedder_embeds_unchanged_chapters_anew_and_nobody_reads_them_again(world: World) -> None:
    book_id = import_old(world)
    with closing(with_another_embedder(world, version="2")) as after:
        after.import_book(NEW, book_id=book_id)
        after.run()

        assert after.extractor.calls["chapter"] == 1
        assert embedded_chapters(after) == {f"CHAPTER {n}" for n in (1, 2, 3, 4)}
        assert after.status(book_id)["status"] == "completed"
    rows = world.rows(
        """SELECT DISTINCT k.embedding_version FROM chapter_chunks k JOIN recent_chapters USING (chapter_id)
           WHERE version = 2"""
    )
    assert [r["embedding_version"] for r in rows] == ["2"]


def test_a_chapter_that_is_reused_in_part_waits_for_the_rest(world: World) -> None:
    book_id = import_old(world)
    with closing(with_another_embedder(world, name="other")) as after:
        split(after, book_id)

        reused, new = ("pending", "embedding", 50), ("pending", "metadata", 0)
        assert statuses(after, 2) == [reused, reused, reused, new]
        status = after.status(book_id)
        assert (status["phase"], status["chapters"]["processed"], status["chapters"]["embedded"]) == ("chapters", 3, 0)
        jobs = after.rows("SELECT type, count(*)::int AS n FROM jobs WHERE version = 2 GROUP BY type")
        assert {j["type"]: j["n"] for j in jobs} == {
            "book-processing": 1,
            "book-context-extraction": 1,
            "chapter-processing": 1,
            "embedding-generation": 1,
        }
        after.run()
        assert set(statuses(after, 2)) == {("completed", "completed", 100)}


def test_a_chapter_whose_vectors_failed_keeps_its_metadata(world: World) -> None:
    refused = refuse_vectors(world, 2)
    book_id = world.import_book(OLD)
    world.run()
    assert world.status(book_id)["status"] == "failed"
    forget_answers(world)
    refused.clear()
    world.extractor.calls.clear()
    world.embedder.calls.clear()
    world.import_book(NEW, book_id=book_id)
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.extractor.calls["chapter"] == 1
    assert embedded_chapters(world) <= {"CHAPTER 2", "CHAPTER 4"}


def test_work_on_what_is_missing_is_cancelled_resumed_and_redriven_as_any_other(world: World) -> None:
    book_id = import_old(world)
    with closing(with_another_embedder(world, name="other")) as after:
        refused = refuse_vectors(after, 2)
        split(after, book_id, OLD + "\nThe end.\n")
        after.call("POST", f"/api/books/{book_id}/cancel")
        assert {status for status, _, _ in statuses(after, 2)} == {"cancelled"}
        after.call("POST", f"/api/books/{book_id}/resume")
        after.run()
        assert [status for status, _, _ in statuses(after, 2)] == ["completed", "failed", "completed", "completed"]

        refused.clear()
        (letter,) = list_dead_letters(after)
        assert redrive(after, ids=[letter["dead_letter_id"]])["accepted"] == [letter["dead_letter_id"]]
        after.run()
        assert after.status(book_id)["status"] == "completed"
        assert after.extractor.calls["chapter"] == 1, "the last one, whose text is another"
