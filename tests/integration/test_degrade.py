"""What a generating model refuses, or fails at, costs a summary: the chapter can be searched, and says what it lacks."""

from __future__ import annotations

from typing import Any

import pytest

from shared.adapters.fake_models import FakeContextExtractor
from shared.adapters.postgres import result_rows
from shared.domain.errors import Blocked, Unavailable
from shared.domain.stages import JobType
from shared.ports import Message
from tests.support.failing_books import (
    FailingChapters,
    block_contexts,
    chapters,
    failed_book,
    list_dead_letters,
    redrive,
    refuse_vectors,
)
from tests.support.world import World, manuscript

LOCAL_REDUCER = "bindery-local-context/1"


def lacking(world: World, book_id: str) -> dict[int, dict[str, str]]:
    """What chapters lack, by number; that of all others is checked to be nothing."""
    found = {c["number"]: c["lacks"] for c in chapters(world, book_id)}
    shown = {
        d.fields["number"]: d.fields["lacks"]
        for d in world.live_documents.all()
        if d.path.startswith(f"books/{book_id}/chapters/")
    }
    assert shown == found
    return {number: lacks for number, lacks in found.items() if lacks}


def job_of_chapter(world: World, number: int, version: int = 1) -> dict[str, Any]:
    (job,) = world.rows(
        "SELECT j.* FROM jobs j JOIN recent_chapters r ON j.job_id = 'chapter-' || r.chapter_id"
        " WHERE chapter_number = %s AND j.version = %s",
        number,
        version,
    )
    return job


def context_of(world: World, book_id: str) -> Any:
    return world.get(f"/api/books/{book_id}").json["context"]


def test_a_chapter_that_the_model_refuses_is_searchable_and_says_so(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=9, error=Blocked)

    status = world.status(book_id)
    assert (status["status"], status["progress"], status["error"]) == ("completed", 100, None)
    counts = {"total": 9, "done": 9, "processed": 8, "embedded": 9, "failed": 0, "without_metadata": 1}
    assert status["chapters"] == counts
    assert lacking(world, book_id) == {3: {"metadata": "blocked"}}
    third = chapters(world, book_id)[2]
    assert (third["status"], third["metadata"], third["error"]) == ("completed", None, None)
    assert context_of(world, book_id)["missing_chapters"] == [3]
    found = world.get("/api/search", q="harbour", book_id=book_id, k=50).json["results"]
    assert "Chapter 3" in {r["chapter_title"] for r in found}
    shown = world.live_documents.get(f"books/{book_id}")
    assert shown is not None
    assert shown.fields["chapters"].items() >= {"total": 9, "failed": 0, "without_metadata": 1}.items()


def test_a_refusal_is_an_answer_so_that_nothing_is_left_to_mend(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=9, error=Blocked)

    job = job_of_chapter(world, 3)
    assert (job["state"], job["attempts"], job["failures"]) == ("completed", 1, [])
    assert job["result"] == {"chapters": 0, "blocked": ["the model refuses chapter 3"], "alone": 0}
    assert list_dead_letters(world) == []
    assert JobType.DEAD_LETTER not in {m.topic for m in world.broker.published}
    assert world.call("POST", f"/api/books/{book_id}/retry").status_code == 409


def test_a_model_that_refused_is_not_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(text: str) -> None:
        asked.append(text)
        raise Blocked("SAFETY")

    faults = iter([Unavailable("PostgreSQL: gone")])
    write = result_rows.write

    def write_at_the_second_time(*about: Any) -> None:
        for fault in faults:
            raise fault
        write(*about)

    world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.CHAPTER_PROCESSING)
    world.extractor.before = refuse
    monkeypatch.setattr(result_rows, "write", write_at_the_second_time)
    assert world.deliver(message) == 204
    assert message in world.broker.waiting
    world.clock.advance(60)
    assert [world.deliver(message), world.deliver(message)] == [204, 204]

    assert len(asked) == 1
    (job,) = world.rows("SELECT attempts, result FROM jobs WHERE job_id = %s", message.data["job_id"])
    assert job == {"attempts": 1, "result": {"chapters": 0, "blocked": ["SAFETY"], "alone": 0}}


def test_a_forced_import_asks_a_model_that_refused_again(world: World) -> None:
    book_id, broken = failed_book(world, 3, chapters=9, error=Blocked)
    broken.numbers.clear()
    world.clock.advance(1)
    world.import_book(manuscript(chapters=9), book_id=book_id, force=True)
    world.run()

    assert lacking(world, book_id) == {}


def test_a_chapter_whose_job_failed_for_good_is_searchable_and_its_dead_letter_open(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=9, error=RuntimeError)

    status = world.status(book_id)
    assert (status["status"], status["chapters"]["failed"], status["chapters"]["without_metadata"]) == (
        "completed",
        0,
        1,
    )
    assert lacking(world, book_id) == {3: {"metadata": "failed"}}
    assert chapters(world, book_id)[2]["status"] == "completed"
    assert context_of(world, book_id)["missing_chapters"] == [3]
    (letter,) = list_dead_letters(world)
    assert (letter["stage"], letter["attempts"]) == ("chapter-processing", 3)


def test_a_chapter_that_lacks_metadata_is_under_way_until_its_vectors_are_there(world: World) -> None:
    FailingChapters(world, 1)
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    first = chapters(world, book_id)[0]
    assert (first["status"], first["lacks"], first["error"]) == ("processing", {"metadata": "failed"}, None)

    world.deliver(world.take(JobType.EMBEDDING_GENERATION))
    assert chapters(world, book_id)[0]["status"] == "completed"
    world.run()
    assert world.status(book_id)["chapters"]["done"] == 2


def test_what_the_broker_gave_up_leaves_a_chapter_without_metadata(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.CHAPTER_PROCESSING)
    marks = {"CloudPubSubDeadLetterSourceSubscription": "chapter-processing-push"}
    world.deliver(Message(topic=JobType.DEAD_LETTER, data=message.data, attributes=marks))
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert list(lacking(world, book_id).values()) == [{"metadata": "failed"}]
    assert world.extractor.calls["full"] == 1


def test_a_redriven_chapter_gets_its_metadata_and_the_book_a_new_context(world: World) -> None:
    book_id, broken = failed_book(world, 3, chapters=9)
    broken.numbers.clear()
    redrive(world, book_id=book_id)
    assert world.status(book_id)["status"] == "processing"
    assert (lacking(world, book_id), chapters(world, book_id)[2]["status"]) == ({}, "pending")
    world.run()

    status = world.status(book_id)
    assert (status["status"], status["chapters"]["done"], status["chapters"]["processed"]) == ("completed", 9, 9)
    assert context_of(world, book_id)["missing_chapters"] == []
    assert world.extractor.calls["full"] == 2
    assert (lacking(world, book_id), list_dead_letters(world)) == ({}, [])


def test_a_redriven_chapter_that_the_model_now_refuses_is_settled(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=9)
    FailingChapters(world, 3, error=Blocked)
    redrive(world, book_id=book_id)
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert lacking(world, book_id) == {3: {"metadata": "blocked"}}
    assert list_dead_letters(world) == []


def test_a_redriven_chapter_that_fails_again_lacks_its_metadata_again(world: World) -> None:
    book_id, _ = failed_book(world, 3, chapters=9)
    redrive(world, book_id=book_id)
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert lacking(world, book_id) == {3: {"metadata": "failed"}}
    assert list_dead_letters(world)[0]["times"] == 2


def test_vectors_that_are_redriven_wait_for_no_metadata(world: World) -> None:
    FailingChapters(world, 4)
    refused = refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert world.status(book_id)["chapters"].items() >= {"failed": 1, "without_metadata": 1}.items()
    refused.clear()
    redrive(world, stage="embedding-generation")
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.status(book_id)["chapters"].items() >= {"failed": 0, "done": 12, "without_metadata": 1}.items()
    assert [letter["stage"] for letter in list_dead_letters(world)] == ["chapter-processing"]


def test_chapters_whose_redrive_is_overtaken_by_an_import_are_what_they_were_before_it(world: World) -> None:
    """Readers see them until the new version is complete, and nobody works on them any more."""
    FailingChapters(world, 3)
    refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    before = chapters(world, book_id)
    redrive(world, book_id=book_id)
    assert [c["status"] for c in chapters(world, book_id)[2:4]] == ["pending", "pending"]
    world.import_book(manuscript(chapters=12, changed=[1]), book_id=book_id)

    assert chapters(world, book_id) == before


def test_a_book_that_is_cancelled_and_resumed_still_lacks_what_it_lacked(world: World) -> None:
    FailingChapters(world, 1)
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    for action in ("cancel", "resume"):
        assert world.call("POST", f"/api/books/{book_id}/{action}").status_code == 200
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert lacking(world, book_id) == {1: {"metadata": "failed"}}


def test_a_book_that_failed_by_its_vectors_does_not_blame_the_metadata_that_failed_later(world: World) -> None:
    FailingChapters(world, 1, error=Blocked)
    refuse_vectors(world, 1, 2)
    book_id = world.import_book(manuscript(chapters=3))
    for stage in (JobType.BOOK_PROCESSING, JobType.EMBEDDING_GENERATION):
        world.deliver(world.take(stage))
    FailingChapters(world, 1, 2, 3)
    world.run()

    status = world.get(f"/api/books/{book_id}/status", user="root").json
    assert (status["status"], status["error"]["technical"]["message"]) == ("failed", "the model refuses this text")


def test_a_book_whose_vectors_were_given_up_says_so_though_metadata_may_be_redriven(world: World) -> None:
    FailingChapters(world, 3)
    refuse_vectors(world, 1, 2, 3)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    vectors = {"stage": "embedding-generation", "reason": "withdrawn"}
    assert world.call("POST", "/api/dead-letters/discard", vectors).json == {"discarded": 3}

    assert world.status(book_id)["error"]["code"] == "discarded"


def test_a_full_context_that_the_model_refuses_is_reduced_without_it(world: World) -> None:
    block_contexts(world, "full")
    book_id = world.import_book(manuscript(chapters=3))
    world.run()

    context = context_of(world, book_id)
    assert world.status(book_id)["status"] == "completed"
    assert (context["mode"], context["model"], context["reduced_because"]) == ("full", LOCAL_REDUCER, "blocked")
    assert [m["name"] for m in context["characters"]] == ["Ann"]
    assert any(context["summary"].startswith(c["metadata"]["summary"]) for c in chapters(world, book_id))
    (job,) = world.rows("SELECT * FROM jobs WHERE data->>'mode' = 'full'")
    assert (job["state"], job["result"]) == ("completed", {"ok": True, "reduced_because": "blocked"})
    assert list_dead_letters(world) == []


def test_a_full_context_that_was_refused_is_not_asked_for_again(world: World) -> None:
    block_contexts(world, "full")
    book_id, _ = failed_book(world, 3)
    redrive(world, book_id=book_id)
    world.run()

    ran = "SELECT 1 FROM deliveries WHERE job_id LIKE 'context-full-%%' AND state = 'claimed'"
    assert len(world.rows(ran)) == 2
    assert world.extractor.calls["refused"] == 1
    assert context_of(world, book_id)["reduced_because"] == "blocked"


@pytest.mark.parametrize("error", [Blocked, RuntimeError])
def test_a_book_of_which_no_chapter_has_metadata_says_that_nothing_is_known(
    world: World, error: type[Exception]
) -> None:
    FailingChapters(world, 1, 2, 3, error=error)
    block_contexts(world, "quick")
    book_id = world.import_book(manuscript(chapters=3))
    world.run()

    status, context = world.status(book_id), context_of(world, book_id)
    assert (status["status"], status["chapters"]["without_metadata"]) == ("completed", 3)
    assert (context["model"], context["reduced_because"]) == (LOCAL_REDUCER, "no_metadata")
    assert (context["summary"], context["characters"], context["missing_chapters"]) == ("", [], [1, 2, 3])
    assert world.extractor.calls["full"] == 0
    assert world.get("/api/search", q="harbour", book_id=book_id).json["results"]


def test_a_beginning_that_the_model_refuses_gives_no_early_summary_and_the_book_goes_on(world: World) -> None:
    block_contexts(world, "quick")
    book_id = world.import_book(manuscript(chapters=2))
    for stage in (JobType.BOOK_PROCESSING, JobType.CONTEXT_EXTRACTION):
        world.deliver(world.take(stage))
    (job,) = world.rows("SELECT * FROM jobs WHERE data->>'mode' = 'quick'")
    assert (job["state"], job["result"]) == ("completed", {"blocked": "the model refuses this book"})
    assert context_of(world, book_id) is None

    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert context_of(world, book_id)["reduced_because"] is None
    assert world.rows("SELECT mode FROM book_contexts") == [{"mode": "full"}]
    assert list_dead_letters(world) == []


def imported_again(world: World, *numbers: int, error: type[Exception]) -> tuple[str, FailingChapters]:
    """A book of which these chapters lack metadata, and whose last chapter changed."""
    book_id, broken = failed_book(world, *numbers, chapters=9, error=error)
    world.extractor.calls.clear()
    world.embedder.calls.clear()
    world.import_book(manuscript(chapters=9, changed=[9]), book_id=book_id)
    return book_id, broken


def test_a_chapter_that_was_refused_is_reused_with_its_refusal(world: World) -> None:
    book_id, broken = imported_again(world, 3, error=Blocked)
    broken.numbers.clear()
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.status(book_id)["chapters"].items() >= {"done": 9, "without_metadata": 1}.items()
    assert lacking(world, book_id) == {3: {"metadata": "blocked"}}
    assert world.extractor.calls["chapter"] == 1
    assert not any(text.startswith("CHAPTER 3\n") for text in world.embedder.calls)
    (split,) = world.rows("SELECT result FROM jobs WHERE type = 'book-processing' AND version = 2")
    assert split["result"]["reused_metadata"] == 8
    assert context_of(world, book_id)["missing_chapters"] == [3]


def test_another_model_is_asked_about_a_chapter_that_one_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    book_id, broken = imported_again(world, 3, error=Blocked)
    broken.numbers.clear()
    monkeypatch.setattr(FakeContextExtractor, "model", property(lambda self: "fake/2"))
    world.run()

    assert lacking(world, book_id) == {}
    assert world.extractor.calls["chapter"] == 9
    assert not any(text.startswith("CHAPTER 3\n") for text in world.embedder.calls), "its vectors are in the cache"


def test_a_chapter_whose_job_failed_is_read_anew_by_the_next_version(world: World) -> None:
    book_id, broken = imported_again(world, 3, error=RuntimeError)
    broken.numbers.clear()
    world.run()

    assert lacking(world, book_id) == {}
    assert world.extractor.calls["chapter"] == 2
    assert not any(text.startswith("CHAPTER 3\n") for text in world.embedder.calls), "its vectors are in the cache"
