"""Dead letters, as owners and administrators look at them and give them up."""

from __future__ import annotations

from shared.domain.stages import STAGES, JobType
from tests.support.failing_books import chapters, failed_book, list_dead_letters, redrive, refuse_vectors
from tests.support.world import World, manuscript


def test_a_dead_letter_tells_of_every_attempt(world: World) -> None:
    book_id, _ = failed_book(world, 3, error=RuntimeError)
    (entry,) = list_dead_letters(world)
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
    assert {f["technical"]["error_class"] for f in letter["failures"]} == {"RuntimeError"}
    assert "RuntimeError: the model refuses chapter 3" in letter["traceback"]
    assert letter["payload"]["job_id"] == letter["job_id"]
    assert letter["first_seen"] == letter["last_seen"] == times[-1]


def test_only_administrators_see_what_is_technical(world: World) -> None:
    failed_book(world, 3)
    (entry,) = list_dead_letters(world)
    path = f"/api/dead-letters/{entry['dead_letter_id']}"
    told, known = world.get(path).json, world.get(path, user="root").json

    assert [told["traceback"], told["technical"], told["failures"][0]["technical"]] == [None, None, None]
    assert told["code"] == told["failures"][0]["code"] == "rejected"
    assert "chapter 3" not in str(told | {"payload": None})
    assert known["technical"]["message"] == known["failures"][0]["technical"]["message"]
    assert "chapter 3" in known["technical"]["message"]


def test_letters_are_listed_by_what_they_have_in_common(world: World) -> None:
    book_id, _ = failed_book(world, 3)
    failed_book(world, 2, 3)

    assert len(list_dead_letters(world)) == 3
    assert len(list_dead_letters(world, book_id=book_id)) == 1
    assert len(list_dead_letters(world, stage="chapter-processing")) == 3
    assert list_dead_letters(world, stage="embedding-generation") == []
    assert len(list_dead_letters(world, fingerprint=list_dead_letters(world)[0]["fingerprint"])) == 3
    assert list_dead_letters(world, since="2030-01-01T00:00:00Z") == []
    assert len(list_dead_letters(world, until="2030-01-01T00:00:00Z")) == 3
    first = world.get("/api/dead-letters", limit=2).json
    assert len(first["dead_letters"]) == 2
    assert len(list_dead_letters(world, after=first["next"])) == 1


def test_letters_of_one_cause_are_one_group(world: World) -> None:
    failed_book(world, 3, 4, error=RuntimeError)
    failed_book(world, 5)
    groups = world.get("/api/dead-letters/groups", user="root").json["groups"]

    assert [(g["technical"]["error_class"], g["dead_letters"], g["books"]) for g in groups] == [
        ("RuntimeError", 2, 1),
        ("Rejected", 1, 1),
    ]


def test_a_book_without_one_of_its_chapters_is_usable_and_says_what_is_missing(world: World) -> None:
    refuse_vectors(world, 3)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    status = world.status(book_id)

    assert (status["status"], status["chapters"]["failed"]) == ("completed", 1)
    assert [c["number"] for c in chapters(world, book_id) if c["status"] == "failed"] == [3]
    assert world.get("/api/search", q="harbour", book_id=book_id).json["results"]


def test_letters_of_an_older_version_are_settled(world: World) -> None:
    book_id, broken = failed_book(world, 3)
    broken.numbers.clear()
    world.call("POST", "/api/books/import", {"title": "B", "content": manuscript(2), "book_id": book_id})
    world.run()
    assert redrive(world, all=True) | {"batch_id": None} == {"batch_id": None, "accepted": [], "refused": []}
    assert len(list_dead_letters(world, state="resolved")) == 1


def test_a_discarded_letter_keeps_its_reason(world: World) -> None:
    failed_book(world, 3)
    (letter,) = list_dead_letters(world)
    body = {"fingerprint": letter["fingerprint"], "reason": "the publisher withdrew it"}
    assert world.call("POST", "/api/dead-letters/discard", body).json == {"discarded": 1}

    assert list_dead_letters(world) == []
    assert redrive(world, all=True)["accepted"] == []
    action = world.get(f"/api/dead-letters/{letter['dead_letter_id']}").json["actions"][0]
    assert (action["action"], action["reason"], action["requested_by"]) == (
        "discard",
        "the publisher withdrew it",
        "ann",
    )


def test_a_book_whose_cause_was_discarded_says_that_it_was_given_up(world: World) -> None:
    refuse_vectors(world, 2, 3, 4)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert world.status(book_id)["error"]["code"] == "rejected"

    first, *others = sorted(found["dead_letter_id"] for found in list_dead_letters(world))
    world.call("POST", "/api/dead-letters/discard", {"ids": others, "reason": "withdrawn"})
    assert world.status(book_id)["error"]["code"] == "rejected", "one of them is open still"
    world.call("POST", "/api/dead-letters/discard", {"ids": [first], "reason": "withdrawn"})

    status = world.status(book_id)
    assert (status["status"], status["error"]["code"]) == ("failed", "discarded")
    known = world.get(f"/api/books/{book_id}/status", user="root").json["error"]["technical"]
    assert known["message"].startswith("discarded, after Rejected: the model refuses this text")
    shown = world.live_documents.get(f"books/{book_id}")
    assert shown is not None
    assert {**shown.fields["error"], "technical": None} == status["error"]


def test_owners_work_with_their_own_letters_alone(world: World) -> None:
    failed_book(world, 3)
    (letter,) = list_dead_letters(world)

    assert list_dead_letters(world, user="ben") == []
    assert world.get("/api/dead-letters/groups", user="ben").json["groups"] == []
    assert world.get(f"/api/dead-letters/{letter['dead_letter_id']}", user="ben").status_code == 404
    assert redrive(world, user="ben", ids=[letter["dead_letter_id"]])["accepted"] == []
    body = {"all": True, "reason": "not mine"}
    assert world.call("POST", "/api/dead-letters/discard", body, user="ben").json == {"discarded": 0}
    assert len(list_dead_letters(world, user="root")) == 1


def test_a_book_that_waits_for_a_retry_says_so(world: World) -> None:
    faults = iter([RuntimeError("odd")])

    def fail(text: str) -> None:
        if (error := next(faults, None)) is not None:
            raise error

    book_id = world.import_book(manuscript(chapters=1))
    for stage in (JobType.BOOK_PROCESSING, JobType.EMBEDDING_GENERATION, JobType.CONTEXT_EXTRACTION):
        world.deliver(world.take(stage))
    world.extractor.before = fail
    world.deliver(world.take(JobType.CHAPTER_PROCESSING))

    status = world.status(book_id)
    attempts = STAGES[JobType.CHAPTER_PROCESSING].attempts
    assert (status["status"], status["attempt"], status["max_attempts"]) == ("retrying", 1, attempts)
    assert status["next_attempt_at"]
    assert status["error"]["code"] == "unexpected"


def test_a_book_that_failed_can_be_cancelled_while_its_other_chapters_are_worked_on(world: World) -> None:
    refuse_vectors(world, 1, 2, 3)
    book_id = world.import_book(manuscript(chapters=6))
    for stage in (JobType.BOOK_PROCESSING, JobType.EMBEDDING_GENERATION):
        world.deliver(world.take(stage))
    assert world.status(book_id)["status"] == "failed"
    assert world.call("POST", f"/api/books/{book_id}/cancel").status_code == 200
    world.run()
    assert world.extractor.calls["chapter"] == 0
