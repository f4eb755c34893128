"""Books move to another embedding model: as new versions, built aside, a few at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.postgres.database import to_column
from shared.domain.errors import Blocked, ConfigError, Rejected
from shared.domain.reembeddings import Books
from shared.domain.stages import JOB_TYPES, JobType
from tests.support.deployments import forget_answers, with_another_embedder
from tests.support.failing_books import FailingChapters, list_dead_letters, redrive
from tests.support.world import World, manuscript

FRONT = "A NOVEL\n\nby Nobody\n\n"
SEEN = """
    SELECT DISTINCT b.book_id, k.embedding_model || '/' || k.embedding_version AS model FROM books b
    JOIN recent_chapters r ON r.book_id = b.book_id AND r.version = b.current_version
    JOIN chapter_chunks k USING (chapter_id)
"""


def text_of(n: int) -> str:
    return FRONT + manuscript(chapters=3, words=60, name=f"book {n} ") + f"\nThe end of {n}.\n"


def import_books(world: World, count: int, user: str = "ann") -> list[str]:
    """Complete ones, whose answers are forgotten."""
    books = [world.import_book(text_of(n), title=f"Book {n}", user=user) for n in range(count)]
    world.run()
    forget_answers(world)
    world.extractor.calls.clear()
    return books


@pytest.fixture
def books(world: World) -> list[str]:
    return import_books(world, 3)


@pytest.fixture
def after(world: World, books: list[str]) -> Iterator[World]:
    """The world with another model, once the books are there; one of them moves at a time."""
    with closing(with_another_embedder(world, name="new", settings={"books_reembedded_at_once": 1})) as made:
        yield made


def reembed(world: World, **which: str) -> Any:
    reply = world.call("POST", "/api/reembeddings", which, user="root")
    assert reply.status_code == 202, reply.text
    return reply.json


def wishes(world: World) -> list[Any]:
    found: list[Any] = world.get("/api/reembeddings", user="root").json["reembeddings"]
    return found


def counts(wish: Any) -> dict[str, int]:
    """Those that are not zero."""
    return {name: wish[name] for name in ("done", "under_way", "left", "failed", "skipped") if wish[name]}


def reconcile(world: World) -> None:
    world.clock.advance(60)
    world.app.reconcile()


def run_all(world: World, rounds: int = 100) -> None:
    """Until nothing more is begun; `reconcile` runs whenever there is nothing to deliver, or all was refused."""
    for _ in range(rounds):
        batch, world.broker.waiting = world.broker.waiting, []
        refused = [m for m in batch if world.deliver(m) >= 300]
        world.broker.waiting += refused
        if len(refused) == len(world.broker.waiting):
            reconcile(world)
            if not world.broker.waiting:
                return
    raise AssertionError("it does not end")


def models_seen(world: World) -> dict[str, list[str]]:
    """Of which models readers see vectors, by book."""
    seen: dict[str, list[str]] = {}
    for row in world.rows(SEEN):
        seen.setdefault(str(row["book_id"]), []).append(row["model"])
    return seen


def everything_but_vectors(world: World, version: int) -> list[Any]:
    chapters = world.rows(
        """SELECT chapter_number, title, content, start_offset, end_offset, word_count, metadata, metadata_model
           FROM recent_chapters WHERE version = %s ORDER BY book_id, chapter_number""",
        version,
    )
    contexts = world.rows(
        "SELECT model, context FROM book_contexts WHERE version = %s AND mode = 'full' ORDER BY book_id", version
    )
    versions = world.rows(
        """SELECT title, content, split_method, front_matter, back_matter FROM book_versions WHERE version = %s
           ORDER BY book_id""",
        version,
    )
    return [chapters, contexts, versions]


# From one model to another


@pytest.mark.parametrize("model", [{"name": "new"}, {"version": "2"}, {"dimensions": 256}], ids=str)
def test_books_move_while_they_are_read_and_nobody_reads_them_again(world: World, model: dict[str, Any]) -> None:
    books = import_books(world, 4)
    with closing(with_another_embedder(world, **model, settings={"books_reembedded_at_once": 3})) as after:
        key = f"{after.embedder.model.name}/{after.embedder.model.version}"
        reembed(after)
        for _ in range(200):
            for message in after.broker.waiting[:1]:
                after.broker.waiting.remove(message)
                assert after.deliver(message) == 204
                seen = models_seen(after)
                assert set(seen) == set(books)
                assert all(of in (["fake/1"], [key]) for of in seen.values())
            if not after.broker.waiting:
                reconcile(after)

        assert set(map(tuple, models_seen(after).values())) == {(key,)}
        assert not after.extractor.calls
        assert everything_but_vectors(after, 2) == everything_but_vectors(after, 1)
        assert counts(wishes(after)[0]) == {"done": 4}
        assert wishes(after)[0]["finished_at"]
        found = after.get("/api/search", q="lantern", k=50).json["results"]
        assert {hit["book_id"] for hit in found} == set(books)


def test_readers_see_the_old_version_until_the_new_one_is_there_and_apps_why_it_is_made(
    after: World, books: list[str]
) -> None:
    reembed(after, book_id=books[0])
    document = after.live_documents.get(f"books/{books[0]}")
    assert document is not None
    assert after.status(books[0])["cause"] == document.fields["cause"] == "reembed"
    statuses = []
    while after.broker.waiting:
        after.deliver(after.broker.waiting.pop(0))
        status = after.status(books[0])
        statuses.append((status["version"], status["current_version"], status["status"]))

    assert set(statuses[:-1]) == {(2, 1, "processing")}
    assert statuses[-1] == (2, 2, "completed")


def test_no_more_books_are_under_way_than_may_be(after: World) -> None:
    reembed(after)
    reembed(after)
    for _ in range(3):
        after.app.reconcile()
    assert counts(wishes(after)[0]) == {"under_way": 1, "left": 2}
    after.run()
    assert after.call("POST", "/api/reembeddings/next", user="root").json == {"begun": 1}
    assert counts(wishes(after)[0]) == {"done": 1, "under_way": 1, "left": 1}
    run_all(after)
    assert counts(wishes(after)[0]) == {"done": 3}
    assert after.call("POST", "/api/reembeddings/next", user="root").json == {"begun": 0}


def test_many_who_begin_at_once_begin_no_more_than_may_be(world: World) -> None:
    import_books(world, 8)
    with closing(with_another_embedder(world, name="new", settings={"books_reembedded_at_once": 3})) as after:
        use_case = after.app.reembed
        use_case.reembeddings.add(Books(), use_case.embedder.model.key, "root", use_case.new_id(), after.clock())
        with ThreadPoolExecutor(6) as pool:
            begun = list(pool.map(lambda _: use_case.next(), range(12)))

        assert sum(begun) == 3
        assert counts(wishes(after)[0]) == {"under_way": 3, "left": 5}


def test_one_book_or_those_of_an_owner_are_moved_alone(world: World) -> None:
    (anns,) = import_books(world, 1)
    bens = world.import_book(text_of(7), user="ben")
    cats = world.import_book(text_of(8), user="cat")
    world.run()
    with closing(with_another_embedder(world, name="new")) as after:
        reembed(after, book_id=anns)
        run_all(after)
        assert models_seen(after) == {anns: ["new/1"], bens: ["fake/1"], cats: ["fake/1"]}
        reembed(after, owner_uid="ben")
        run_all(after)
        assert models_seen(after) == {anns: ["new/1"], bens: ["new/1"], cats: ["fake/1"]}


# Gently


def test_what_anybody_imports_comes_before_what_moves(world: World) -> None:
    import_books(world, 4)
    caps = {"concurrency": {JobType.BOOK_PROCESSING: 1}}
    with closing(with_another_embedder(world, name="new", settings=caps)) as after:
        mine = after.import_book(text_of(20))
        reembed(after)
        after.clock.advance(1)
        yours, mine_too = after.import_book(text_of(21), user="ben"), after.import_book(text_of(22))
        after.app.reconcile()
        places = [after.status(yours, "ben")["queue_position"], after.status(mine_too)["queue_position"]]
        order = []
        while after.broker.waiting:
            message = after.broker.waiting.pop(0)
            after.deliver(message)
            order += [message.data["book_id"]] if message.topic == JobType.BOOK_PROCESSING else []

        assert sorted(places) == [1, 2]
        assert order[0] == mine
        assert set(order[1:3]) == {yours, mine_too}
        assert len(order) == 7


def test_what_moves_takes_no_place_of_what_an_owner_may_import(world: World) -> None:
    import_books(world, 3)
    with closing(with_another_embedder(world, name="new", settings={"max_books_under_way": 1})) as after:
        reembed(after)
        assert counts(wishes(after)[0]) == {"under_way": 3}

        assert after.post({"content": text_of(30)}).status_code == 202
        assert after.post({"content": text_of(31)}).status_code == 429


def test_stopped_nothing_more_begins_and_asked_again_it_goes_on(after: World) -> None:
    first = reembed(after)["reembedding_id"]
    stopped = after.call("POST", "/api/reembeddings/stop", user="root").json["reembeddings"]
    run_all(after)
    assert [w["stopped_at"] is not None for w in stopped] == [True]
    assert counts(wishes(after)[0]) == {"done": 1, "left": 2}

    assert reembed(after)["reembedding_id"] != first
    run_all(after)
    assert counts(wishes(after)[0]) == {"done": 3}


def test_nothing_moves_unless_it_was_asked_for(after: World) -> None:
    run_all(after)
    assert {r["version"] for r in after.rows("SELECT version FROM book_versions")} == {1}


def test_what_was_asked_for_another_model_is_not_asked_for_this_one(world: World, after: World) -> None:
    reembed(after)
    with closing(with_another_embedder(world, name="third")) as third:
        run_all(third)
        reembed(third)
        run_all(third)
        assert [(w["model"]["name"], bool(w["stopped_at"])) for w in wishes(third)] == [("third", False), ("new", True)]
        assert set(map(tuple, models_seen(third).values())) == {("third/1",)}
        run_all(after)
        assert set(map(tuple, models_seen(third).values())) == {("third/1",)}


# What comes in between


def test_an_import_that_comes_meanwhile_takes_over_with_the_new_model(after: World, books: list[str]) -> None:
    reembed(after, book_id=books[0])
    after.deliver(after.take(JobType.BOOK_PROCESSING))
    after.import_book(text_of(40), title="Book 0", book_id=books[0])
    run_all(after)

    status = after.status(books[0])
    assert (status["version"], status["current_version"], status["cause"]) == (3, 3, "import")
    assert models_seen(after)[books[0]] == ["new/1"]
    assert counts(wishes(after)[0]) == {"done": 1}


def test_a_book_that_is_deleted_or_cancelled_is_no_longer_due(after: World, books: list[str]) -> None:
    reembed(after)
    (begun,) = {str(r["book_id"]) for r in after.rows("SELECT book_id FROM book_versions WHERE version = 2")}
    assert after.call("POST", f"/api/books/{begun}/cancel").status_code == 200
    deleted = next(b for b in books if b != begun)
    assert after.call("DELETE", f"/api/books/{deleted}").status_code == 204
    run_all(after)

    assert counts(wishes(after)[0]) == {"done": 1, "skipped": 1}
    assert models_seen(after)[begun] == ["fake/1"]
    assert after.call("POST", f"/api/books/{begun}/resume").status_code == 200
    run_all(after)
    assert models_seen(after)[begun] == ["new/1"]


def test_a_book_whose_newest_import_failed_is_left_to_its_owner(world: World, books: list[str], after: World) -> None:
    refuse(world, "again")
    world.import_book(text_of(50) + "\nOnce again.\n", title="Book 0", book_id=books[0])
    world.run()
    reembed(after)
    run_all(after)

    assert counts(wishes(after)[0]) == {"done": 2, "skipped": 1}
    assert after.call("POST", f"/api/books/{books[0]}/retry").status_code == 200
    run_all(after)
    assert models_seen(after)[books[0]] == ["new/1"]


def refuse(world: World, word: str) -> None:
    def before(texts: Sequence[str]) -> None:
        if any(word in text for text in texts):
            raise Rejected("the model refuses this text")

    world.embedder.before = before


def test_a_book_that_fails_is_reported_and_not_tried_again_and_its_readers_see_the_old_one(
    after: World, books: list[str]
) -> None:
    refuse(after, "The end of 1.")
    reembed(after)
    run_all(after)

    assert counts(wishes(after)[0]) == {"done": 2, "failed": 1}
    assert wishes(after)[0]["finished_at"]
    status = after.status(books[1])
    assert (status["status"], status["version"], status["current_version"]) == ("failed", 2, 1)
    assert models_seen(after)[books[1]] == ["fake/1"]
    reembed(after)
    run_all(after)
    assert after.status(books[1])["version"] == 2
    after.embedder.before = None
    (letter,) = list_dead_letters(after)
    redrive(after, ids=[letter["dead_letter_id"]])
    run_all(after)
    assert models_seen(after)[books[1]] == ["new/1"]


def test_what_failed_for_one_model_is_tried_for_the_next(world: World, after: World, books: list[str]) -> None:
    refuse(after, "")
    reembed(after, book_id=books[0])
    run_all(after)
    assert counts(wishes(after)[0]) == {"failed": 1}
    with closing(with_another_embedder(world, name="third")) as third:
        reembed(third, book_id=books[0])
        run_all(third)

        assert models_seen(third)[books[0]] == ["third/1"]
        assert not third.extractor.calls


# Crashes


@pytest.mark.parametrize("lost", range(4))
def test_whatever_message_is_lost_it_goes_on(after: World, books: list[str], lost: int) -> None:
    reembed(after, book_id=books[0])
    for _ in range(lost):
        after.deliver(after.broker.waiting.pop(0))
    after.broker.waiting.pop(0)
    run_all(after)

    assert models_seen(after)[books[0]] == ["new/1"]
    assert not after.extractor.calls
    assert max(after.embedder.calls.values()) == 1


@pytest.mark.parametrize("step", JOB_TYPES)
def test_a_stage_that_dies_is_done_again_and_nothing_is_paid_twice(
    after: World, books: list[str], step: JobType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies when its work is done, before the commit."""
    store = after.app.push.runner.store
    died: list[str] = []
    commit = store.commit

    def die_once(claim: Any, result: Any, now: Any) -> Any:
        if claim.job.type is step and claim.job.job_id not in died:
            died.append(claim.job.job_id)
            raise RuntimeError("the process died")
        return commit(claim, result, now)

    monkeypatch.setattr(store, "commit", die_once)
    reembed(after)
    run_all(after)

    assert models_seen(after) == {book: ["new/1"] for book in books}
    assert not after.extractor.calls
    assert max(after.embedder.calls.values()) == 1
    assert len(died) == (0 if step is JobType.CHAPTER_PROCESSING else 3)


def test_what_was_begun_and_never_published_is_published_by_reconcile(after: World, books: list[str]) -> None:
    after.broker.down = True
    reembed(after)
    after.broker.down = False
    run_all(after)

    assert models_seen(after) == {book: ["new/1"] for book in books}


# What it takes


def estimate(world: World, **which: str) -> Any:
    return world.get("/api/reembeddings/estimate", user="root", **which).json


def test_the_estimate_is_what_is_then_asked(world: World) -> None:
    import_books(world, 6)
    world.import_book(manuscript(chapters=40, words=900, name="long"))
    world.run()
    with closing(with_another_embedder(world, name="new")) as after:
        told = estimate(after)
        reembed(after)
        run_all(after)

        assert told["model"] == {"name": "new", "version": "1"}
        assert told["leaving"] == [{"name": "fake", "version": "1", "books": 7}]
        assert (told["books"], told["chapters"], told["is_extrapolated"]) == (7, 58, False)
        assert told["passages"] == len(after.embedder.calls)
        assert told["requests"] == after.embedder.requests > 7
        assert told["generating_requests"] == sum(after.extractor.calls.values()) == 0
        assert told["tokens"] > 40_000
        assert estimate(after)["books"] == 0


def test_of_many_books_some_are_read_and_the_rest_is_reckoned(
    after: World, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = estimate(after)
    monkeypatch.setattr("shared.use_cases.reembed.SAMPLED_CHARACTERS", 1)
    some = estimate(after)

    assert (exact["is_extrapolated"], some["is_extrapolated"]) == (False, True)
    assert some["passages"] == exact["passages"]
    assert abs(some["tokens"] - exact["tokens"]) < exact["tokens"] / 10
    assert estimate(after, book_id=books[0])["books"] == 1
    assert estimate(after, owner_uid="ben")["requests"] == 0


@pytest.mark.parametrize(("error", "asked"), [(Blocked, {}), (Rejected, {"chapter": 1, "full": 1})])
def test_only_metadata_that_failed_is_asked_for_again(world: World, error: type[Exception], asked: Any) -> None:
    broken = FailingChapters(world, 2, error=error)
    book_id = world.import_book(manuscript(chapters=4))
    world.run()
    assert world.status(book_id)["chapters"]["without_metadata"] == 1
    broken.numbers.clear()
    forget_answers(world)
    with closing(with_another_embedder(world, name="new")) as after:
        told = estimate(after)
        reembed(after)
        run_all(after)

        assert after.status(book_id)["status"] == "completed"
        assert after.extractor.calls == Counter(asked)
        assert told["generating_requests"] == sum(asked.values())
        assert after.status(book_id)["chapters"]["without_metadata"] == (0 if asked else 1)


def test_metadata_that_comes_later_is_in_the_context(world: World) -> None:
    FailingChapters(world, 2)
    book_id = world.import_book(manuscript(chapters=4))
    world.run()
    with closing(with_another_embedder(world, name="new")) as after:
        broken = FailingChapters(after, 2)
        reembed(after)
        run_all(after)
        context = "SELECT context FROM book_contexts WHERE version = %s AND mode = 'full'"
        assert after.rows(context, 2) == after.rows(context, 1)
        broken.numbers.clear()
        (letter,) = list_dead_letters(after)
        redrive(after, ids=[letter["dead_letter_id"]])
        run_all(after)

        assert after.status(book_id)["version"] == 2
        assert after.rows(context, 2)[0]["context"]["missing_chapters"] == []


def test_vectors_that_a_kept_version_has_are_taken(world: World, after: World, books: list[str]) -> None:
    reembed(after)
    run_all(after)
    world.embedder.calls.clear()
    with closing(with_another_embedder(world)) as back:
        reembed(back)
        run_all(back)

        assert set(map(tuple, models_seen(back).values())) == {("fake/1",)}
        assert not back.embedder.calls


def test_versions_of_before_tell_their_model_by_their_chapters(after: World, books: list[str]) -> None:
    with after.app.database.statements() as connection:
        connection.execute("UPDATE book_versions SET embedding_model = NULL, embedding_version = NULL")
    assert estimate(after)["leaving"] == [{"name": "fake", "version": "1", "books": 3}]
    reembed(after)
    run_all(after)

    assert counts(wishes(after)[0]) == {"done": 3}


# The same text, imported again


def test_an_equal_import_moves_its_book(after: World, books: list[str]) -> None:
    reply = after.post({"content": text_of(0), "title": "Book 0", "book_id": books[0]})
    assert (reply.status_code, reply.json["version"], reply.json["status"]) == (202, 2, "processing")
    again = after.post({"content": text_of(0), "title": "Book 0", "book_id": books[0]})
    assert again.json["version"] == 2
    run_all(after)

    assert models_seen(after) == {books[0]: ["new/1"], books[1]: ["fake/1"], books[2]: ["fake/1"]}
    assert not after.extractor.calls
    assert after.post({"content": text_of(0), "title": "Book 0", "book_id": books[0]}).json["version"] == 2


def test_a_request_that_is_repeated_is_told_of_the_version_that_took_over(world: World) -> None:
    body = {"content": text_of(0)}
    book_id = world.post(body, Idempotency_Key="one").json["book_id"]
    world.run()
    with closing(with_another_embedder(world, name="new")) as after:
        reembed(after)
        run_all(after)

        told = after.post(body, Idempotency_Key="one").json
        assert (told["book_id"], told["version"], told["status"]) == (book_id, 2, "completed")


# A deployment in the midst of imports


@pytest.mark.parametrize("force", [False, True])
def test_books_that_were_split_for_a_model_that_is_gone_begin_anew(world: World, force: bool) -> None:
    older = world.import_book(text_of(0))
    world.run()
    first = world.import_book(text_of(0) + "\nMore.\n", book_id=older, force=force)
    second = world.import_book(text_of(1))
    for message in [m for m in world.broker.waiting if m.topic == JobType.BOOK_PROCESSING]:
        world.broker.waiting.remove(message)
        world.deliver(message)
    for message in [m for m in world.broker.waiting if m.topic != JobType.EMBEDDING_GENERATION]:
        world.broker.waiting.remove(message)
        world.deliver(message)
    created = world.rows("SELECT max(created_at) AS at FROM book_versions WHERE book_id = %s", first)
    with closing(with_another_embedder(world, name="new")) as after:
        read = Counter(world.extractor.calls)
        for message in list(after.broker.waiting):
            after.deliver(message)
        assert after.status(first)["status"] == "retrying"
        assert after.status(first)["error"]["code"] == "model_unavailable"
        run_all(after)

        assert models_seen(after) == {first: ["new/1"], second: ["new/1"]}
        assert after.status(first)["cause"] == "import"
        assert after.status(first)["version"] == 3
        assert not after.extractor.calls["chapter"], "they were read before"
        assert read["chapter"] >= 6
        anew = after.rows("SELECT force, created_at AS at FROM book_versions WHERE book_id = %s AND version = 3", first)
        assert [(r["force"], r["at"]) for r in anew] == [(force, created[0]["at"])]
        assert after.rows("SELECT 1 FROM jobs WHERE permitted_at IS NOT NULL") == []


def test_a_move_to_a_model_that_is_gone_goes_on_to_the_next(world: World, after: World, books: list[str]) -> None:
    reembed(after, book_id=books[0])
    with closing(with_another_embedder(world, name="third")) as third:
        run_all(third)

        assert models_seen(third)[books[0]] == ["third/1"]
        assert third.status(books[0])["cause"] == "reembed"
        assert models_seen(third)[books[1]] == ["fake/1"]


# Who may, and what can't be


@pytest.mark.parametrize(
    "call",
    [
        "GET /api/reembeddings",
        "GET /api/reembeddings/estimate",
        "GET /api/reembeddings/00000000-0000-4000-8000-000000000001",
        "POST /api/reembeddings",
        "POST /api/reembeddings/next",
        "POST /api/reembeddings/stop",
    ],
)
def test_only_administrators_move_books(world: World, call: str) -> None:
    method, _, path = call.partition(" ")
    assert world.call(method, path, {} if method == "POST" else None).status_code == 403


def test_what_is_not_there_is_not_moved(world: World) -> None:
    nobody = "00000000-0000-4000-8000-000000000001"
    assert world.call("POST", "/api/reembeddings", {"book_id": nobody}, user="root").status_code == 404
    assert world.get("/api/reembeddings/estimate", user="root", book_id=nobody).status_code == 404
    assert world.get(f"/api/reembeddings/{nobody}", user="root").status_code == 404


def test_a_model_of_more_dimensions_than_the_database_holds_is_refused_at_start() -> None:
    with pytest.raises(ConfigError, match="has 3072 dimensions, and the database holds 768"):
        FakeEmbedder(name="large", dimensions=3072)
    with pytest.raises(ValueError, match="769 dimensions"):
        to_column([0.0] * 769)
