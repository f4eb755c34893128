"""Retries, dead letters and partial success: what becomes of a book when a stage, a service or the broker fails."""

from __future__ import annotations

import pytest

from shared.domain.errors import Rejected, Unavailable
from shared.domain.stages import LEASE_SECONDS, MAX_LEASE_EXPIRATIONS, MAX_RETRY_AFTER_SECONDS, STAGES, JobType
from shared.ports import Claimed, Message
from tests.support.failing_books import refuse_vectors
from tests.support.world import World, manuscript


def test_an_unexpected_error_is_retried_with_backoff_and_early_deliveries_are_no_attempts(world: World) -> None:
    faults = iter([RuntimeError("boom 17"), None])
    world.embedder.before = lambda texts: _raise(next(faults, None))
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)

    assert world.deliver(message) == 429
    job = world.get(f"/api/jobs/{message.data['job_id']}").json
    assert (job["state"], job["attempts"], job["error"]["code"]) == ("retrying", 1, "unexpected")
    assert world.deliver(message) == 429
    assert world.get(f"/api/jobs/{job['id']}").json["attempts"] == 1

    world.clock.advance(STAGES[JobType.EMBEDDING_GENERATION].first_backoff_seconds)
    assert world.deliver(message) == 204
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.get(f"/api/jobs/{job['id']}").json["attempts"] == 2


def test_a_retry_waits_as_long_as_the_service_asked(world: World) -> None:
    faults = iter([Unavailable("slow down", retry_after=300)])
    world.embedder.before = lambda texts: _raise(next(faults, None))
    world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)

    assert world.deliver(message) == 204
    assert message in world.broker.waiting
    world.clock.advance(299)
    assert world.deliver(message) == 429
    world.clock.advance(2)
    assert world.deliver(message) == 204


def test_exhausted_attempts_end_in_a_dead_letter_and_fail_the_book_at_its_last_progress(world: World) -> None:
    world.embedder.before = lambda texts: _raise(RuntimeError("always"))
    book_id = world.import_book(manuscript(chapters=3, words=8_000))
    world.run()

    status = world.status(book_id)
    assert status["status"] == "failed"
    assert status["progress"] >= 10
    assert status["error"]["code"] == "unexpected"
    letters = world.rows("SELECT * FROM dead_letters WHERE type = 'embedding-generation'")
    assert [row["attempts"] for row in letters] == [5, 5, 5]
    assert {row["fingerprint"] for row in letters} == {letters[0]["fingerprint"]}
    assert "RuntimeError: always" in letters[0]["traceback"]
    assert JobType.DEAD_LETTER in {m.topic for m in world.broker.published}


def test_one_bad_chapter_of_a_group_fails_alone_and_the_book_is_usable(world: World) -> None:
    def refuse(texts: object) -> None:
        if any("CHAPTER 4\n" in t for t in texts):  # type: ignore[attr-defined]
            raise Rejected("the model refuses this text")

    world.embedder.before = refuse
    book_id = world.import_book(manuscript(chapters=12))
    world.run()

    status = world.status(book_id)
    assert status["status"] == "completed"
    assert status["chapters"]["failed"] == 1
    failed = world.rows("SELECT chapter_number FROM recent_chapters WHERE embedding_timestamp IS NULL")
    assert [f["chapter_number"] for f in failed] == [4]
    assert world.live_documents.get(f"books/{book_id}").fields["failed_chapters"] == 1  # type: ignore[union-attr]


def test_a_book_fails_when_too_many_chapters_do(world: World) -> None:
    def refuse(texts: object) -> None:
        if any("CHAPTER 4\n" in t or "CHAPTER 5\n" in t for t in texts):  # type: ignore[attr-defined]
            raise Rejected("the model refuses this text")

    world.embedder.before = refuse
    book_id = world.import_book(manuscript(chapters=6))
    world.run()

    assert world.status(book_id)["status"] == "failed"


def test_a_second_delivery_waits_while_the_first_holds_the_lease(world: World) -> None:
    world.import_book(manuscript())
    message = world.take(JobType.BOOK_PROCESSING)
    store = world.app.store
    claim = store.claim(message.data["job_id"], world.clock())
    assert isinstance(claim, Claimed)
    assert claim.attempt == 1

    assert world.deliver(message) == 429
    world.clock.advance(LEASE_SECONDS + 1)
    assert world.deliver(message) == 204


def test_an_attempt_that_was_overtaken_writes_nothing(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.CHAPTER_PROCESSING)
    lease = LEASE_SECONDS

    def overtake(text: str) -> None:
        world.extractor.before = None
        world.clock.advance(lease + 1)
        assert world.deliver(message) == 204

    world.extractor.before = overtake
    assert world.deliver(message) == 429
    world.run()
    assert world.status(book_id)["status"] == "completed"
    job = world.rows("SELECT attempts, abandoned FROM jobs WHERE job_id = %s", message.data["job_id"])
    assert job == [{"attempts": 1, "abandoned": 1}]


def test_attempts_that_die_without_a_word_run_out_too(world: World) -> None:
    world.import_book(manuscript())
    message = world.take(JobType.BOOK_PROCESSING)
    for _ in range(MAX_LEASE_EXPIRATIONS):
        world.app.store.claim(message.data["job_id"], world.clock())
        world.clock.advance(LEASE_SECONDS + 1)

    assert world.deliver(message) == 204
    assert world.rows("SELECT error_class FROM dead_letters") == [{"error_class": "LeaseExpired"}]


def test_a_book_is_kept_when_the_broker_is_down_and_reconcile_publishes_it(world: World) -> None:
    world.broker.down = True
    reply = world.post({"title": "Kept", "content": manuscript()})
    assert reply.status_code == 202
    assert reply.json["published"] is False

    world.broker.down = False
    world.clock.advance(61)
    assert world.app.reconcile().published == 1
    world.run()
    assert world.status(reply.json["book_id"])["status"] == "completed"


def test_a_publish_that_fails_after_the_commit_is_repeated_by_reconcile(world: World) -> None:
    book_id = world.import_book(manuscript())
    world.broker.down = True
    assert world.deliver(world.take(JobType.BOOK_PROCESSING)) == 204
    world.broker.down = False
    world.clock.advance(61)
    world.app.reconcile()

    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert set(world.embedder.calls.values()) == {1}


def test_losing_every_message_loses_nothing(world: World) -> None:
    book_id = world.import_book(manuscript())
    for _ in range(50):
        if world.status(book_id)["status"] == "completed":
            break
        delivered, world.broker.waiting = world.broker.waiting[:1], []
        for message in delivered:
            world.deliver(message)
        world.broker.waiting = []
        world.clock.advance(61)
        world.app.reconcile()

    assert world.status(book_id)["status"] == "completed"
    assert set(world.embedder.calls.values()) == {1}


def test_a_message_that_the_broker_gave_up_on_is_recorded_and_fails_its_job(world: World) -> None:
    book_id = world.import_book(manuscript())
    message = world.take(JobType.BOOK_PROCESSING)
    marks = {"CloudPubSubDeadLetterSourceSubscription": "book-processing-push"}
    dead_letter = Message(topic=JobType.DEAD_LETTER, data=message.data, attributes=marks)

    assert [world.deliver(dead_letter), world.deliver(dead_letter)] == [204, 204]
    assert world.status(book_id)["status"] == "failed"
    assert world.rows("SELECT error_class FROM dead_letters") == [{"error_class": "DeliveriesExhausted"}]


def test_work_goes_on_while_live_documents_are_down_and_they_catch_up(world: World) -> None:
    world.live_documents.down = True
    book_id = world.import_book(manuscript())
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.live_documents.all() == []

    world.live_documents.down = False
    world.clock.advance(60)
    assert world.app.reconcile().projected > 1
    assert world.live_documents.get(f"books/{book_id}").fields["status"] == "completed"  # type: ignore[union-attr]


def test_a_chapter_whose_vectors_failed_is_waited_for_while_its_metadata_is_under_way(world: World) -> None:
    refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    (fourth,) = world.rows("SELECT chapter_id FROM recent_chapters WHERE chapter_number = 4")
    late = next(m for m in world.broker.waiting if m.data["job_id"] == f"chapter-{fourth['chapter_id']}")
    world.broker.waiting.remove(late)
    world.run()
    assert world.status(book_id)["status"] == "processing"

    assert world.deliver(late) == 204
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.get(f"/api/books/{book_id}").json["context"]["missing_chapters"] == []


@pytest.mark.parametrize("said", ["the model said: \0 nothing", "half of a pair: \ud800", "x" * 2_000_000])
def test_an_error_is_kept_whatever_it_says(world: World, said: str) -> None:
    calls = []

    def fail(text: str) -> None:
        if text.startswith("CHAPTER 2\n"):
            calls.append(text)
            raise ValueError(said)

    world.extractor.before = fail
    world.import_book(manuscript(chapters=2))
    world.run()
    assert len(calls) == STAGES[JobType.CHAPTER_PROCESSING].attempts
    (letter,) = world.get("/api/dead-letters", user="root").json["dead_letters"]
    assert letter["technical"]["error_class"] == "ValueError"
    assert said[:10] in letter["technical"]["message"]
    assert len(letter["technical"]["message"]) <= 2_000


@pytest.mark.parametrize("asked", [1e12, float("inf")])
def test_a_service_that_asks_for_years_is_asked_again_after_hours(world: World, asked: float) -> None:
    book_id = world.import_book(manuscript(chapters=1))
    faults = iter([Unavailable("quota", retry_after=asked)])
    world.embedder.before = lambda texts: _raise(next(faults, None))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)
    assert world.deliver(message) == 204
    assert message in world.broker.waiting

    world.clock.advance(MAX_RETRY_AFTER_SECONDS)
    assert world.deliver(message) == 204
    world.run()
    assert world.status(book_id)["status"] == "completed"


def _raise(error: Exception | None) -> None:
    if error:
        raise error
