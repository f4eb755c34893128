"""Work that nobody will do is found again, and work that somebody does is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from uuid import UUID

import psycopg
import pytest

from shared.adapters.postgres.database import Database
from shared.adapters.postgres.job_store import PostgresJobStore
from shared.domain.errors import Unavailable
from shared.domain.stages import LEASE_SECONDS, STAGES, JobType
from shared.ports import Document, Message
from tests.support.explaining import Explained, explaining_connection
from tests.support.world import World, manuscript

CHAPTER = JobType.CHAPTER_PROCESSING


def split_book(world: World, chapters: int = 4, title: str = "A Book") -> str:
    book_id = world.import_book(manuscript(chapters=chapters), title=title)
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    return book_id


def lose_all(world: World) -> list[Message]:
    lost, world.broker.waiting = world.broker.waiting, []
    return lost


def published_again(world: World) -> list[str]:
    """The jobs whose messages one run sends."""
    before = len(world.broker.published)
    world.app.reconcile()
    return [m.data["job_id"] for m in world.broker.published[before:]]


def test_a_job_that_was_never_published_is_after_a_moment(world: World) -> None:
    world.broker.down = True
    job_id = world.post({"title": "Kept", "content": manuscript(1)}).json["job_id"]
    world.broker.down = False

    assert published_again(world) == []
    world.clock.advance(6)
    assert published_again(world) == [job_id]
    assert published_again(world) == []


def test_a_job_whose_process_died_is_published_once_its_lease_is_long_over(world: World) -> None:
    split_book(world)
    job_id = world.take(CHAPTER).data["job_id"]
    world.clock.advance(60)
    world.app.store.claim(job_id, world.clock())
    world.clock.advance(LEASE_SECONDS + 20)
    assert job_id not in published_again(world)
    world.clock.advance(10)

    assert job_id in published_again(world)
    world.clock.advance(20)
    assert job_id not in published_again(world)
    world.run()
    assert {r["state"] for r in world.rows("SELECT state FROM jobs")} == {"completed"}


def test_a_retry_that_is_overdue_is_published_and_one_that_is_not_waits(world: World) -> None:
    split_book(world)
    message = world.take(CHAPTER)

    def fail(text: str) -> None:
        world.extractor.before = None
        raise Unavailable("slow down", retry_after=300)

    world.extractor.before = fail
    assert world.deliver(message) == 204
    assert message in world.broker.waiting
    world.clock.advance(310)
    assert message.data["job_id"] not in published_again(world)
    world.clock.advance(30)
    assert message.data["job_id"] in published_again(world)
    world.run()
    assert world.extractor.calls["chapter"] == 4


def test_what_is_queued_while_nothing_is_delivered_is_published_again(world: World) -> None:
    split_book(world)
    lost = lose_all(world)
    world.clock.advance(24)
    assert published_again(world) == []
    world.clock.advance(2)

    assert sorted(published_again(world)) == sorted(m.data["job_id"] for m in lost)
    assert published_again(world) == []
    world.run()
    assert {r["state"] for r in world.rows("SELECT state FROM jobs")} == {"completed"}


@pytest.mark.parametrize("seconds", [4, 24, 26])
@pytest.mark.parametrize("phase", [3, 27, 59])
def test_lost_messages_are_found_within_90_s_while_new_books_keep_coming(
    world: World, seconds: int, phase: int
) -> None:
    split_book(world)
    lost = {m.data["job_id"] for m in lose_all(world)}
    found: set[str] = set()
    for second in range(1, 91):
        world.clock.advance(1)
        if second % seconds == 0:
            world.import_book(manuscript(1, words=90, name=f"{second}"), title=f"Book {second}")
            world.run()
        if second % 60 == phase:
            found.update(published_again(world))

    assert lost <= found
    world.run()
    assert {r["state"] for r in world.rows("SELECT state FROM jobs")} == {"completed"}


def test_what_is_overtaken_again_and_again_is_published_ever_more_rarely(world: World) -> None:
    """Its message may be waiting after all: each copy is one more."""
    split_book(world)
    waiting = {m.data["job_id"] for m in lose_all(world)}
    minutes = []
    for minute in range(1, 10):
        world.clock.advance(50)
        world.import_book(manuscript(1, words=90, name=f"{minute}"), title=f"Book {minute}")
        world.run()
        world.clock.advance(10)
        if waiting <= set(published_again(world)):
            minutes.append(minute)
        lose_all(world)

    assert minutes == [1, 3, 7]


def test_a_message_of_an_older_version_is_sent_no_more(world: World) -> None:
    book_id = split_book(world)
    lose_all(world)
    world.call("POST", "/api/books/import", {"title": "B", "content": manuscript(2, words=90), "book_id": book_id})
    lose_all(world)
    world.clock.advance(60)

    assert published_again(world) == [f"book-{book_id}-v2"]
    world.run()
    assert world.status(book_id)["version"] == 2


def test_books_whose_documents_lag_are_written_and_no_others(world: World) -> None:
    shown = world.import_book(manuscript(2))
    world.run()
    world.clock.advance(60)
    world.app.reconcile()
    world.live_documents.down = True
    hidden = world.import_book(manuscript(3), title="Hidden")
    world.run()
    world.live_documents.down = False
    world.clock.advance(60)
    before = len(world.live_documents.history)

    lagging = world.rows("SELECT job_id AS id FROM jobs WHERE book_id = %s", hidden)
    lagging += world.rows("SELECT entity_id AS id FROM processing_status WHERE book_id = %s", hidden)
    assert world.app.reconcile().projected == len(lagging) + 1, "a book's row is that of two documents"
    assert not any(shown in d.path for d in world.live_documents.history[before:])
    projected = world.app.projections.of_book(UUID(hidden), chapters=True)
    assert len(projected) == 2 + 3
    assert [world.live_documents.get(d.path) for d in projected] == projected
    assert world.app.reconcile().projected == 0


def leave_work(world: World) -> tuple[str, str]:
    """Books of which one lags and one has lost its messages; deliveries are old enough to go."""
    world.live_documents.down = True
    lagging = world.import_book(manuscript(2))
    world.run()
    world.live_documents.down = False
    world.clock.advance(8 * 24 * 3600)
    lost = world.import_book(manuscript(2), title="Lost")
    lose_all(world)
    world.clock.advance(60)
    return lagging, lost


def test_without_the_broker_documents_are_written_and_old_rows_dropped(world: World) -> None:
    lagging, lost = leave_work(world)
    world.broker.down = True
    with pytest.raises(Unavailable, match="broker"):
        world.app.reconcile()

    document = world.live_documents.get(f"books/{lagging}")
    assert document is not None
    assert document.fields["status"] == "completed"
    assert world.rows("SELECT 1 FROM deliveries") == []
    world.broker.down = False
    world.app.reconcile()
    world.run()
    assert world.status(lost)["status"] == "completed"


def test_a_document_that_is_refused_does_not_keep_those_of_deleted_books(world: World) -> None:
    refused, _ = leave_work(world)
    gone = world.import_book(manuscript(1), title="Gone")
    world.run()
    late = [d for d in world.live_documents.all() if gone in d.path]
    world.call("DELETE", f"/api/books/{gone}")
    put = world.live_documents.put
    put(late)

    def refuse(documents: Sequence[Document]) -> None:
        if any(refused in d.path for d in documents):
            raise Unavailable("the live documents refuse this")
        put(documents)

    world.live_documents.put = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="refuse this"):
        world.app.reconcile()
    assert [d.path for d in world.live_documents.all() if gone in d.path] == []


def test_without_live_documents_messages_are_sent_and_old_rows_dropped(world: World) -> None:
    lagging, lost = leave_work(world)
    world.live_documents.down = True
    with pytest.raises(Unavailable, match="live documents"):
        world.app.reconcile()

    assert world.rows("SELECT 1 FROM deliveries") == []
    world.run()
    assert world.status(lost)["status"] == "completed"
    world.live_documents.down = False
    world.clock.advance(60)
    assert world.app.reconcile().projected > 0
    assert world.live_documents.get(f"books/{lagging}") is not None


def test_what_waits_for_a_permit_costs_the_search_for_stalled_work_nothing(world: World) -> None:
    book_id = split_book(world)
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO jobs (job_id, type, book_id, version, data, max_attempts, created_at, owner_uid, imported_at)
               SELECT 'waiting-' || n, %(type)s, %(book)s, 1, '{}', 3, %(now)s, 'ann', %(now)s
               FROM generate_series(1, 2000) n""",
            {"type": CHAPTER, "book": book_id, "now": world.clock()},
        )
        connection.execute("ANALYZE jobs")
    world.clock.advance(60)
    seen: list[Explained] = []
    with closing(Database(world.dsn, connection_class=lambda: explaining_connection(seen))) as database:
        assert len(PostgresJobStore(database, 0.1, {}).stalled(world.clock())) == 6
    assert len(seen) == 1
    assert sum(statement.rows for statement in seen) <= 20


def test_two_runs_at_once_do_no_harm(world: World) -> None:
    book_id = split_book(world)
    lose_all(world)
    world.clock.advance(60)
    world.app.reconcile()
    world.app.reconcile()
    world.run(copies=2)

    assert world.status(book_id)["status"] == "completed"
    assert set(world.embedder.calls.values()) == {1}
    assert world.extractor.calls["chapter"] == 4
    assert all(r["attempts"] <= STAGES[CHAPTER].attempts for r in world.rows("SELECT attempts FROM jobs"))
