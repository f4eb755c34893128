"""Replays by the book, with their receipts; the broker's own are in acceptance/test_operator.py."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.queue import Subscription
from shared.domain.stages import JOB_TYPES, STAGES, JobType
from tests.support.world import World, manuscript

STAGES_OF_BOOKS = list(JOB_TYPES)
FREE = {"stages_repeated": 0, "model_calls": 0, "rows_changed": 0}


def replay(world: World, user: str = "root", **body: Any) -> Any:
    return world.call("POST", "/api/replays", body, user=user)


def receipt(world: World, begun: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.get(f"/api/replays/{begun.json['replay_id']}", user="root").json
    return {k: found[k] for k in (*FREE, "messages_redelivered")}


@pytest.mark.parametrize("stage", STAGES_OF_BOOKS)
def test_a_replay_of_a_completed_book_costs_nothing(world: World, stage: JobType) -> None:
    book_id = world.import_book(manuscript(6))
    world.run()
    world.clock.advance(60)
    begun = replay(world, stage=stage, book_id=book_id)
    count = len(world.broker.waiting)
    world.run()

    assert begun.status_code == 202
    assert begun.json["expected"] == count > 0
    assert receipt(world, begun) == {**FREE, "messages_redelivered": count}
    told = world.get(f"/api/replays/{begun.json['replay_id']}", user="root").json
    assert (told["expected"], told["stage"]) == (count, stage)


@pytest.fixture(scope="module")
def long_book(lasting_world: World) -> str:
    """A book of 130 chapters, after which three others were made."""
    book_id = lasting_world.import_book(manuscript(chapters=130, words=27))
    lasting_world.run()
    for n in range(3):
        lasting_world.import_book(manuscript(chapters=60, words=18, name=f"{n} "), title=f"Later {n}", user="ben")
        lasting_world.run()
    lasting_world.clock.advance(300)
    lasting_world.app.reconcile()
    return book_id


@pytest.mark.parametrize("stage", STAGES_OF_BOOKS)
def test_a_replay_of_a_long_book_delivers_all_its_jobs_after_other_books_were_made(
    lasting_world: World, long_book: str, stage: JobType
) -> None:
    (jobs,) = lasting_world.rows("SELECT count(*) AS n FROM jobs WHERE type = %s AND book_id = %s", stage, long_book)
    lasting_world.clock.advance(60)

    begun = replay(lasting_world, stage=stage, book_id=long_book)
    assert begun.json["expected"] == jobs["n"] > 0
    lasting_world.run()
    assert receipt(lasting_world, begun) == {**FREE, "messages_redelivered": jobs["n"]}


def test_a_replay_of_what_retention_dropped_says_so(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    world.run()
    world.clock.advance(31 * 86_400)
    world.app.reconcile()

    reply = replay(world, stage="chapter-processing", book_id=book_id)
    assert reply.status_code == 409
    assert "no ended job of chapter-processing" in reply.json["detail"]


@pytest.mark.parametrize("path", ["/api/replays", "/api/projections"])
def test_a_book_that_is_not_there_is_told(world: World, path: str) -> None:
    body = {"book_id": str(UUID(int=7))} | ({"stage": "chapter-processing"} if "replays" in path else {})
    assert world.call("POST", path, body, user="root").status_code == 404


def test_a_receipt_tells_what_did_change(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    world.run()
    world.clock.advance(60)
    begun = replay(world, stage="chapter-processing", book_id=book_id)
    with world.app.database.transaction() as connection:
        connection.execute("UPDATE recent_chapters SET title = 'Other' WHERE chapter_number = 2")
        connection.execute(
            "UPDATE jobs SET state = 'pending', attempts = 0, permitted_at = created_at WHERE type = 'chapter-processing'"
        )
        connection.execute("DELETE FROM answers")
    world.run()

    told = receipt(world, begun)
    assert told["stages_repeated"] == 3
    assert told["model_calls"] == 3
    assert told["rows_changed"] >= 4


def test_a_dry_run_delivers_nothing(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    world.run()
    reply = replay(world, stage="chapter-processing", book_id=book_id, dry_run=True)
    assert (reply.json["expected"], reply.json["replay_id"]) == (3, None)
    assert world.broker.waiting == []


def test_work_under_way_is_not_counted_as_repeated(world: World) -> None:
    book_id = world.import_book(manuscript(3))
    world.run()
    world.clock.advance(60)
    begun = replay(world, stage="chapter-processing", book_id=book_id)
    world.import_book(manuscript(4), title="Another")
    world.run()
    assert receipt(world, begun) == {**FREE, "messages_redelivered": 3}


@pytest.mark.parametrize(
    "body",
    [{}, {"since": "2026-01-01T00:00:00Z", "snapshot": "s"}, {"since": "2026-01-01T00:00:00"}, {"snapshot": ""}],
)
def test_a_replay_names_one_source(world: World, body: dict[str, str]) -> None:
    assert replay(world, stage="chapter-processing", **body).status_code == 422


def test_replays_are_for_administrators(world: World) -> None:
    book_id = world.import_book(manuscript(1))
    assert replay(world, user="ann", stage="chapter-processing", book_id=book_id).status_code == 403
    assert world.call("POST", "/api/snapshots", {"name": "s"}).status_code == 403
    assert world.call("GET", "/api/snapshots").status_code == 403
    assert world.call("POST", "/api/projections", {}).status_code == 403


def test_snapshots_are_made_listed_and_deleted(world: World) -> None:
    broker = world.app.seekable_broker
    assert isinstance(broker, MemoryBroker)
    for stage in STAGES.values():
        quiet = Subscription(
            name=stage.subscription,
            topic=stage.type,
            endpoint=lambda envelope: True,
            concurrency=1,
            min_backoff=1,
            max_backoff=600,
            max_deliveries=5,
        )
        broker.subscribe(quiet)
    assert world.call("POST", "/api/snapshots", {"name": "before-v2"}, user="root").status_code == 201
    assert world.call("POST", "/api/snapshots", {"name": "before-v2"}, user="root").status_code == 409
    (entry,) = world.get("/api/snapshots", user="root").json["snapshots"]
    assert (entry["name"], set(entry["stages"])) == ("before-v2", set(STAGES_OF_BOOKS))
    assert world.call("DELETE", "/api/snapshots/before-v2", user="root").status_code == 204
    assert world.call("DELETE", "/api/snapshots/before-v2", user="root").status_code == 404
    broker.close()


def test_live_documents_that_were_lost_are_written_anew(world: World) -> None:
    book_id = world.import_book(manuscript(4))
    world.run()
    world.app.reconcile()
    before = world.live_documents.all()
    world.live_documents.lose_all()
    assert world.call("POST", "/api/projections", {}, user="root").json == {"books": 1}
    reply = world.call("POST", "/api/projections/next", None, user="root").json

    assert reply == {"projected": len(before), "deleted": 0, "left": 0, "is_done": True}
    assert [(d.path, d.fields["owner_uid"]) for d in world.live_documents.all()] == [
        (d.path, d.fields["owner_uid"]) for d in before
    ]
    projected = world.app.projections.of_book(UUID(book_id), chapters=True)
    assert len(projected) == 2 + 4
    assert [world.live_documents.get(d.path) for d in projected] == projected
