"""Another chance for what failed for good: one, many, at a rate, after a canary, and what comes of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import pytest

from shared.adapters.postgres import status_rows
from shared.domain.dead_letters import MAX_REDRIVES, DeadLetterFilter, RedriveRequest
from shared.domain.stages import JobType
from tests.support.failing_books import (
    FailingChapters,
    failed_book,
    list_dead_letters,
    redrive,
    refuse_full_context,
    refuse_vectors,
)
from tests.support.world import World, await_lock, manuscript


def context_and_then_vectors_failed(world: World) -> str:
    """A book whose full context failed, and then the vectors of too many chapters; nothing is broken any more."""
    mend, refused = refuse_full_context(world), refuse_vectors(world, 4, 5, 6)
    book_id = world.import_book(manuscript(chapters=12))
    while others := [m for m in world.broker.waiting if m.topic != JobType.EMBEDDING_GENERATION]:
        world.broker.waiting.remove(others[0])
        world.deliver(others[0])
    world.run()
    mend()
    refused.clear()
    return book_id


def test_a_redriven_chapter_heals_its_book(world: World) -> None:
    book_id, broken = failed_book(world, 3)
    summary = world.get(f"/api/books/{book_id}").json["context"]["summary"]
    broken.numbers.clear()
    reply = redrive(world, book_id=book_id)
    assert len(reply["accepted"]) == 1
    assert world.status(book_id)["status"] == "processing"
    assert world.status(book_id)["progress"] == 100
    world.run()

    status = world.status(book_id)
    context = world.get(f"/api/books/{book_id}").json["context"]
    assert (status["status"], status["chapters"]["done"], status["chapters"]["without_metadata"]) == (
        "completed",
        12,
        0,
    )
    assert context["missing_chapters"] == []
    assert context["summary"] != summary
    shown = world.live_documents.get(f"books/{book_id}")
    assert shown is not None
    assert (shown.fields["status"], shown.fields["failed_chapters"]) == ("completed", 0)
    assert list_dead_letters(world) == []
    assert list_dead_letters(world, state="resolved")[0]["times"] == 1
    assert world.extractor.calls["full"] == 2
    assert set(world.embedder.calls.values()) == {1}


def test_a_redrive_is_written_down_with_its_outcome(world: World) -> None:
    book_id, broken = failed_book(world, 3)
    (letter,) = list_dead_letters(world)
    redrive(world, user="root", ids=[letter["dead_letter_id"]])
    world.run()
    broken.numbers.clear()
    redrive(world, ids=[letter["dead_letter_id"]])
    world.run()

    shown = world.get(f"/api/dead-letters/{letter['dead_letter_id']}").json
    assert [(a["requested_by"], a["outcome"]) for a in shown["actions"]] == [
        ("an administrator", "failed"),
        ("ann", "succeeded"),
    ]
    told = world.get(f"/api/dead-letters/{letter['dead_letter_id']}", user="root").json
    assert told["actions"][0]["requested_by"] == "root"
    assert (shown["state"], shown["times"]) == ("resolved", 2)
    assert world.status(book_id)["status"] == "completed"


def test_a_canary_goes_first_and_the_rest_only_if_it_succeeds(world: World) -> None:
    _, broken = failed_book(world, 2, 3, 4)
    assert len(redrive(world, all=True, canary=True)["accepted"]) == 3
    assert len(world.broker.waiting) == 1
    world.run()
    world.app.reconcile()
    assert world.broker.waiting == []
    outcomes = [r["outcome"] for r in world.rows("SELECT outcome FROM dead_letter_actions ORDER BY action_id")]
    assert outcomes == ["failed", "dropped", "dropped"]

    broken.numbers.clear()
    redrive(world, all=True, canary=True)
    world.run()
    assert len(list_dead_letters(world, state="resolved")) == 1
    world.app.reconcile()
    world.run()
    assert len(list_dead_letters(world, state="resolved")) == 3
    assert list_dead_letters(world) == []


def test_redrives_are_sent_no_faster_than_asked(world: World) -> None:
    _, broken = failed_book(world, 2, 3, 4, 5)
    broken.numbers.clear()
    redrive(world, all=True, per_minute=2)
    sent = [m for m in world.broker.waiting if m.topic == JobType.CHAPTER_PROCESSING]
    assert len(sent) == 2

    world.app.reconcile()
    assert len([m for m in world.broker.waiting if m.topic == JobType.CHAPTER_PROCESSING]) == 2
    world.clock.advance(61)
    assert world.app.reconcile().redriven >= 2
    world.run()
    assert list_dead_letters(world) == []


def test_a_message_is_redriven_a_few_times_and_then_no_more(world: World) -> None:
    failed_book(world, 3)
    for _ in range(MAX_REDRIVES):
        assert len(redrive(world, all=True)["accepted"]) == 1
        world.run()

    reply = redrive(world, all=True)
    assert reply["accepted"] == []
    assert f"{MAX_REDRIVES} times" in reply["refused"][0]["reason"]


def test_asking_twice_at_once_redrives_once(world: World) -> None:
    failed_book(world, 2, 3)
    assert len(redrive(world, all=True, canary=True)["accepted"]) == 2
    again = redrive(world, all=True)
    assert again["accepted"] == []
    assert "queued" in again["refused"][0]["reason"]


def test_nothing_is_redriven_without_a_choice(world: World) -> None:
    reply = world.call("POST", "/api/dead-letters/redrive", {"canary": True})
    assert reply.status_code == 422
    assert "say all" in reply.json["detail"]


def test_a_chapter_that_failed_alone_in_its_group_is_embedded_alone(world: World) -> None:
    refused = refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert len(list_dead_letters(world, stage="embedding-generation")) == 1

    refused.clear()
    redrive(world, book_id=book_id)
    world.run()
    chapters = world.status(book_id)["chapters"]
    assert chapters == {
        **{"total": 12, "done": 12, "processed": 12, "embedded": 12},
        **{"failed": 0, "without_metadata": 0},
    }
    assert set(world.embedder.calls.values()) == {1}
    assert list_dead_letters(world) == []


def test_a_chapter_that_failed_in_both_ways_waits_for_both(world: World) -> None:
    broken, refused = FailingChapters(world, 4), refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    broken.numbers.clear()
    refused.clear()

    redrive(world, stage="chapter-processing")
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.status(book_id)["chapters"]["failed"] == 1
    redrive(world, stage="embedding-generation")
    world.run()
    assert world.status(book_id)["chapters"]["failed"] == 0
    assert world.status(book_id)["status"] == "completed"


def test_a_context_that_failed_too_waits_for_the_chapter_that_is_redriven_with_it(world: World) -> None:
    broken, mend = FailingChapters(world, 3), refuse_full_context(world)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert world.status(book_id)["status"] == "failed"
    broken.numbers.clear()
    mend()
    assert len(world.call("POST", f"/api/books/{book_id}/retry").json["accepted"]) == 2
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.get(f"/api/books/{book_id}").json["context"]["missing_chapters"] == []
    assert list_dead_letters(world) == []


def test_what_waits_for_a_canary_whose_book_is_deleted_is_let_go(world: World) -> None:
    first, _ = failed_book(world, 2)
    _, broken = failed_book(world, 3)
    redrive(world, all=True, canary=True)
    world.call("DELETE", f"/api/books/{first}")
    world.app.reconcile()
    broken.numbers.clear()
    assert len(redrive(world, all=True)["accepted"]) == 1
    world.run()
    assert list_dead_letters(world) == []


def test_a_letter_that_is_discarded_before_its_turn_is_not_sent(world: World) -> None:
    failed_book(world, 2, 3)
    redrive(world, all=True, per_minute=1)
    world.run()
    later = list_dead_letters(world)[0]["dead_letter_id"]
    world.call("POST", "/api/dead-letters/discard", {"ids": [later], "reason": "enough"})
    world.clock.advance(120)
    assert world.app.reconcile().redriven == 0
    assert list_dead_letters(world, state="discarded")[0]["dead_letter_id"] == later


def test_a_redrive_is_looked_at_and_stopped(world: World) -> None:
    _, broken = failed_book(world, 2, 3, 4, 5)
    broken.numbers = {3}
    batch = redrive(world, all=True, per_minute=2)["batch_id"]
    world.run()
    path = f"/api/dead-letters/redrives/{batch}"
    counts = {"held": 0, "waiting": 2, "sent": 0, "succeeded": 1, "failed": 1, "dropped": 0}
    assert world.get(path).json.items() >= {"batch_id": batch, "per_minute": 2, **counts}.items()

    assert world.call("POST", f"{path}/stop").json == {"stopped": 2}
    assert world.call("POST", f"{path}/stop").json == {"stopped": 0}
    world.clock.advance(120)
    assert world.app.reconcile().redriven == 0
    assert world.get(path).json.items() >= (counts | {"waiting": 0, "dropped": 2}).items()
    broken.numbers.clear()
    assert len(redrive(world, all=True)["accepted"]) == 3
    world.run()
    assert list_dead_letters(world) == []


def test_a_canary_that_is_stopped_takes_no_others_with_it(world: World) -> None:
    _, broken = failed_book(world, 2, 3, 4)
    broken.numbers.clear()
    batch = redrive(world, all=True, canary=True)["batch_id"]
    assert world.call("POST", f"/api/dead-letters/redrives/{batch}/stop").json == {"stopped": 2}
    world.run()
    world.app.reconcile()
    world.run()

    outcomes = [r["outcome"] for r in world.rows("SELECT outcome FROM dead_letter_actions ORDER BY action_id")]
    assert outcomes == ["succeeded", "dropped", "dropped"]
    assert len(list_dead_letters(world)) == 2


def test_a_redrive_is_its_owners_and_administrators(world: World) -> None:
    failed_book(world, 2, 3)
    batch = redrive(world, user="root", all=True, per_minute=1)["batch_id"]
    path = f"/api/dead-letters/redrives/{batch}"
    assert world.get(path, user="ben").status_code == 404
    assert world.call("POST", f"{path}/stop", user="ben").status_code == 404
    assert world.get(path.replace(batch, "5b1e8f0c-2c1b-4f3d-9a55-0d3f3c1f8e11"), user="root").status_code == 404

    assert world.call("POST", f"{path}/stop", user="root").json == {"stopped": 1}
    (letter,) = [found for found in list_dead_letters(world) if found["state"] == "open"]
    shown = world.get(f"/api/dead-letters/{letter['dead_letter_id']}").json["actions"]
    assert [(a["outcome"], a["requested_by"], a["reason"]) for a in shown] == [("dropped", "an administrator", None)]


def test_what_two_release_at_once_is_sent_once_and_by_nobody_dropped(world: World, dsn: str) -> None:
    _, broken = failed_book(world, *range(2, 12), chapters=14)
    broken.numbers.clear()
    world.app.redrives.add(RedriveRequest(chosen=DeadLetterFilter(), requested_by="ann"), uuid4(), world.clock())
    other = World(dsn)
    with ThreadPoolExecutor(2) as pool:
        begun = list(pool.map(lambda w: w.app.redrive.release(500), (world, other)))
    other.close()

    (letters_of,) = world.rows("SELECT count(*) AS n FROM dead_letters WHERE state = 'redriven'")
    assert sum(begun) == letters_of["n"] == 10
    outcomes = world.rows("SELECT DISTINCT outcome FROM dead_letter_actions a JOIN dead_letters USING (dead_letter_id)")
    assert {r["outcome"] for r in outcomes} == {"sent"}


def test_a_context_is_no_canary_for_the_chapters_that_it_waits_for(world: World) -> None:
    book_id = context_and_then_vectors_failed(world)
    assert [found["stage"] for found in list_dead_letters(world)][-1] == JobType.CONTEXT_EXTRACTION

    redrive(world, all=True, canary=True)
    for _ in range(3):
        world.run()
        world.app.reconcile()
        world.clock.advance(60)
    assert world.status(book_id)["status"] == "completed"
    assert list_dead_letters(world) == []


def test_a_context_that_is_redriven_before_its_chapters_are_stays_open(world: World) -> None:
    book_id = context_and_then_vectors_failed(world)

    redrive(world, stage=JobType.CONTEXT_EXTRACTION)
    world.run()
    assert len(list_dead_letters(world)) == 4
    assert len(world.call("POST", f"/api/books/{book_id}/retry").json["accepted"]) == 4
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert list_dead_letters(world) == []


def test_a_context_that_is_being_made_is_not_made_twice(world: World) -> None:
    broken, mend = FailingChapters(world, 3), refuse_full_context(world)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    broken.numbers.clear()
    mend()
    full = world.extractor.full

    def retried_meanwhile(*about: Any) -> Any:
        world.extractor.full = full  # type: ignore[method-assign]
        world.call("POST", f"/api/books/{book_id}/retry")
        for message in [m for m in world.broker.waiting if m.data.get("mode") == "full"]:
            world.broker.waiting.remove(message)
            world.deliver(message)
        return full(*about)

    world.extractor.full = retried_meanwhile  # type: ignore[method-assign, assignment]
    redrive(world, stage="chapter-processing")
    world.run()
    assert world.extractor.calls["full"] == 1
    assert world.status(book_id)["status"] == "completed"
    assert list_dead_letters(world) == []


def test_a_letter_is_discarded_while_it_is_sent_and_neither_waits_for_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, broken = failed_book(world, 2)
    broken.numbers.clear()
    redrives, dead_letters = world.app.redrives, world.app.dead_letters
    redrives.add(RedriveRequest(chosen=DeadLetterFilter(), requested_by="ann"), uuid4(), world.clock())
    is_cancelled, at, go = status_rows.is_cancelled, Event(), Event()

    def hold(*about: Any) -> bool:
        at.set()
        assert go.wait(20)
        return is_cancelled(*about)

    monkeypatch.setattr(status_rows, "is_cancelled", hold)
    with ThreadPoolExecutor(2) as pool:
        released = pool.submit(redrives.release, world.clock(), 10)
        assert at.wait(20)
        discarded = pool.submit(dead_letters.discard, DeadLetterFilter(), "ann", "enough", uuid4(), world.clock())
        await_lock(world)
        go.set()
        assert len(released.result(20)) == 1
        assert discarded.result(20).dead_letters == 0
    world.clock.advance(6)
    world.app.reconcile()
    world.run()
    assert len(list_dead_letters(world, state="resolved")) == 1
