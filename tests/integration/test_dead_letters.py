"""Dead letters, as owners and administrators work with them."""

from __future__ import annotations

from typing import Any

from shared.domain.dead_letters import MAX_REDRIVES
from shared.domain.errors import Rejected, Unavailable
from shared.domain.stages import STAGES, JobType
from tests.world import World, manuscript


class Broken:
    """Fails the chapters of these numbers, as long as they are in here. A quick context is not kept from its work."""

    def __init__(self, world: World, *numbers: int, error: type[Exception] = Rejected) -> None:
        self.numbers = set(numbers)
        self._error = error
        world.extractor._before = self

    def __call__(self, text: str) -> None:
        for n in self.numbers:
            if text.startswith(f"CHAPTER {n}\n") and "CHAPTER 12\n" not in text:
                raise self._error(f"the model refuses chapter {n}")


def failed_book(world: World, *numbers: int, chapters: int = 12, **more: Any) -> tuple[str, Broken]:
    broken = Broken(world, *numbers, **more)
    book_id = world.import_book(manuscript(chapters=chapters))
    world.run()
    return book_id, broken


def letters(world: World, user: str = "ann", **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.get("/api/dead-letters", user=user, **query).json["dead_letters"]
    return found


def redrive(world: World, user: str = "ann", **body: Any) -> Any:
    return world.call("POST", "/api/dead-letters/redrive", body, user=user).json


def test_a_dead_letter_tells_of_every_attempt(world: World) -> None:
    book_id, _ = failed_book(world, 3, error=RuntimeError)
    (entry,) = letters(world)
    letter = world.get(f"/api/dead-letters/{entry['dead_letter_id']}", user="root").json

    assert (letter["stage"], letter["book_id"], letter["attempts"], letter["times"]) == (
        "chapter-processing",
        book_id,
        3,
        1,
    )
    assert [f["attempt"] for f in letter["failures"]] == [1, 2, 3]
    times = [f["at"] for f in letter["failures"]]
    assert times == sorted(set(times))
    assert {f["error_class"] for f in letter["failures"]} == {"RuntimeError"}
    assert "RuntimeError: the model refuses chapter 3" in letter["traceback"]
    assert letter["payload"]["job_id"] == letter["job_id"]
    assert letter["first_seen"] == letter["last_seen"] == times[-1]


def test_only_administrators_see_tracebacks(world: World) -> None:
    failed_book(world, 3)
    (entry,) = letters(world)
    assert world.get(f"/api/dead-letters/{entry['dead_letter_id']}").json["traceback"] is None


def test_letters_are_listed_by_what_they_have_in_common(world: World) -> None:
    book_id, _ = failed_book(world, 3)
    failed_book(world, 2, 3)

    assert len(letters(world)) == 3
    assert len(letters(world, book_id=book_id)) == 1
    assert len(letters(world, stage="chapter-processing")) == 3
    assert letters(world, stage="embedding-generation") == []
    assert len(letters(world, fingerprint=letters(world)[0]["fingerprint"])) == 3
    assert letters(world, since="2030-01-01T00:00:00Z") == []
    assert len(letters(world, until="2030-01-01T00:00:00Z")) == 3
    first = world.get("/api/dead-letters", limit=2).json
    assert len(first["dead_letters"]) == 2
    assert len(letters(world, after=first["next"])) == 1


def test_letters_of_one_cause_are_one_group(world: World) -> None:
    failed_book(world, 3, 4, error=RuntimeError)
    failed_book(world, 5)
    groups = world.get("/api/dead-letters/groups").json["groups"]

    assert [(g["error_class"], g["letters"], g["books"]) for g in groups] == [
        ("RuntimeError", 2, 1),
        ("Rejected", 1, 1),
    ]


def test_a_book_without_one_of_its_chapters_is_usable_and_says_what_is_missing(world: World) -> None:
    book_id, _ = failed_book(world, 3)
    status = world.status(book_id)
    context = world.get(f"/api/books/{book_id}").json["context"]

    assert (status["status"], status["chapters"]["failed"]) == ("completed", 1)
    assert context["missing_chapters"] == [3]
    assert world.get("/api/search", q="harbour", book_id=book_id).json["results"]


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
    assert (status["status"], status["chapters"]["failed"]) == ("completed", 0)
    assert context["missing_chapters"] == []
    assert context["summary"] != summary
    shown = world.statuses.get(f"books/{book_id}")
    assert shown is not None
    assert (shown.fields["status"], shown.fields["failed_chapters"]) == ("completed", 0)
    assert letters(world) == []
    assert letters(world, state="resolved")[0]["times"] == 1
    assert world.extractor.calls["full"] == 2
    assert set(world.embedder.calls.values()) == {1}


def test_a_redrive_is_written_down_with_its_outcome(world: World) -> None:
    book_id, broken = failed_book(world, 3)
    (letter,) = letters(world)
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
    assert len(letters(world, state="resolved")) == 1
    world.app.reconcile()
    world.run()
    assert len(letters(world, state="resolved")) == 3
    assert letters(world) == []


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
    assert letters(world) == []


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
    assert "waiting" in again["refused"][0]["reason"]


def test_letters_of_an_older_version_are_settled(world: World) -> None:
    book_id, broken = failed_book(world, 3)
    broken.numbers.clear()
    world.call("POST", "/api/books/import", {"title": "B", "content": manuscript(2), "book_id": book_id})
    world.run()
    assert redrive(world, all=True) | {"batch_id": None} == {"batch_id": None, "accepted": [], "refused": []}
    assert len(letters(world, state="resolved")) == 1


def test_a_discarded_letter_keeps_its_reason(world: World) -> None:
    failed_book(world, 3)
    (letter,) = letters(world)
    body = {"fingerprint": letter["fingerprint"], "reason": "the publisher withdrew it"}
    assert world.call("POST", "/api/dead-letters/discard", body).json == {"discarded": 1}

    assert letters(world) == []
    assert redrive(world, all=True)["accepted"] == []
    action = world.get(f"/api/dead-letters/{letter['dead_letter_id']}").json["actions"][0]
    assert (action["action"], action["reason"], action["requested_by"]) == (
        "discard",
        "the publisher withdrew it",
        "ann",
    )


def test_nothing_is_redriven_without_a_choice(world: World) -> None:
    reply = world.call("POST", "/api/dead-letters/redrive", {"canary": True})
    assert reply.status_code == 422
    assert "say all" in reply.json["detail"]


def test_owners_work_with_their_own_letters_alone(world: World) -> None:
    failed_book(world, 3)
    (letter,) = letters(world)

    assert letters(world, user="ben") == []
    assert world.get("/api/dead-letters/groups", user="ben").json["groups"] == []
    assert world.get(f"/api/dead-letters/{letter['dead_letter_id']}", user="ben").status_code == 404
    assert redrive(world, user="ben", ids=[letter["dead_letter_id"]])["accepted"] == []
    body = {"all": True, "reason": "not mine"}
    assert world.call("POST", "/api/dead-letters/discard", body, user="ben").json == {"discarded": 0}
    assert len(letters(world, user="root")) == 1


def test_a_chapter_that_failed_alone_in_its_group_is_embedded_alone(world: World) -> None:
    broken = {4}

    def refuse(texts: Any) -> None:
        if any(t.startswith(f"CHAPTER {n}\n") for t in texts for n in broken):
            raise Rejected("the model refuses this text")

    world.embedder._before = refuse
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert len(letters(world, stage="embedding-generation")) == 1

    broken.clear()
    redrive(world, book_id=book_id)
    world.run()
    assert world.status(book_id)["chapters"] == {"total": 12, "done": 12, "processed": 12, "embedded": 12, "failed": 0}
    assert set(world.embedder.calls.values()) == {1}
    assert letters(world) == []


def test_a_chapter_that_failed_in_both_ways_waits_for_both(world: World) -> None:
    broken = Broken(world, 4)
    refused = {4}

    def refuse(texts: Any) -> None:
        if any(t.startswith(f"CHAPTER {n}\n") for t in texts for n in refused):
            raise Rejected("the model refuses this text")

    world.embedder._before = refuse
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


def test_a_book_that_waits_for_a_retry_says_so(world: World) -> None:
    faults = iter([Unavailable("slow down", retry_after=100)])

    def fail(text: str) -> None:
        if (error := next(faults, None)) is not None:
            raise error

    book_id = world.import_book(manuscript(chapters=1))
    for stage in (JobType.BOOK_PROCESSING, JobType.EMBEDDING_GENERATION, JobType.CONTEXT_EXTRACTION):
        world.deliver(world.take(stage))
    world.extractor._before = fail
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    status = world.status(book_id)
    attempts = STAGES[JobType.CHAPTER_PROCESSING].attempts
    assert (status["status"], status["attempt"], status["max_attempts"]) == ("retrying", 1, attempts)
    assert status["next_attempt_at"]
    assert status["error"]["error_class"] == "Unavailable"


def test_a_context_that_failed_too_waits_for_the_chapter_that_is_redriven_with_it(world: World) -> None:
    broken = Broken(world, 3)
    fail = {"full"}
    full = world.extractor.full

    def refuse(*about: Any) -> Any:
        if fail:
            raise Rejected("no context")
        return full(*about)

    world.extractor.full = refuse  # type: ignore[method-assign]
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert world.status(book_id)["status"] == "failed"
    broken.numbers.clear()
    fail.clear()
    assert len(world.call("POST", f"/api/books/{book_id}/retry").json["accepted"]) == 2
    world.run()

    assert world.status(book_id)["status"] == "completed"
    assert world.get(f"/api/books/{book_id}").json["context"]["missing_chapters"] == []
    assert letters(world) == []


def test_what_waits_for_a_canary_whose_book_is_deleted_is_let_go(world: World) -> None:
    first, _ = failed_book(world, 2)
    _, broken = failed_book(world, 3)
    redrive(world, all=True, canary=True)
    world.call("DELETE", f"/api/books/{first}")
    world.app.reconcile()
    broken.numbers.clear()
    assert len(redrive(world, all=True)["accepted"]) == 1
    world.run()
    assert letters(world) == []


def test_a_letter_that_is_discarded_before_its_turn_is_not_sent(world: World) -> None:
    failed_book(world, 2, 3)
    redrive(world, all=True, per_minute=1)
    world.run()
    later = letters(world)[0]["dead_letter_id"]
    world.call("POST", "/api/dead-letters/discard", {"ids": [later], "reason": "enough"})
    world.clock.advance(120)
    assert world.app.reconcile().redriven == 0
    assert letters(world, state="discarded")[0]["dead_letter_id"] == later


def test_a_book_that_failed_can_be_cancelled_while_its_other_chapters_are_worked_on(world: World) -> None:
    Broken(world, 1, 2, 3)
    book_id = world.import_book(manuscript(chapters=6))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    for _ in range(3):
        world.deliver(world.take(JobType.CHAPTER_PROCESSING))
    assert world.status(book_id)["status"] == "failed"
    assert world.call("POST", f"/api/books/{book_id}/cancel").status_code == 200
    world.run()
    assert world.extractor.calls["chapter"] == 0
