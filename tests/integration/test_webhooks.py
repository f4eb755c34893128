"""Webhooks, as users and their apps meet them: what is told, signed by whom, how often, and to whom it is not told."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as IndependentVerifier

from tests.support.failing_books import redrive, refuse_vectors
from tests.support.receiver import Receiver
from tests.support.webhooks import create_webhook, deliveries_of
from tests.support.world import World, manuscript


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    made = World(dsn, webhooks_allow_private=True)
    yield made
    made.close()


@pytest.fixture
def app() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def payloads(app: Receiver) -> list[Any]:
    return [json.loads(r.body) for r in app.received]


def test_an_app_is_told_that_a_book_is_complete(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app, description="our shop")
    book_id = world.import_book(manuscript(3), title="Persuasion")
    world.run()

    (told,) = payloads(app)
    assert told == {
        "type": "book.completed",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "data": {
            "book_id": book_id,
            "version": 1,
            "title": "Persuasion",
            "status": "completed",
            "chapters": {"total": 3, "processed": 3, "failed": 0},
            "error": None,
        },
    }
    assert app.received[0].path == "/hooks?app=1"
    assert app.received[0].headers["content-type"] == "application/json"
    (delivery,) = deliveries_of(world, webhook)
    assert delivery["event_id"] == app.ids[0]
    assert delivery["event_id"].startswith(f"book-completed-{book_id}-v1-")
    assert (delivery["state"], delivery["attempts"], delivery["last_status"]) == ("delivered", 1, 204)


def test_a_book_that_is_deleted_and_imported_again_is_told_anew_though_its_id_is_the_same(
    world: World, app: Receiver
) -> None:
    create_webhook(world, app)
    books = []
    for _ in range(2):
        books.append(world.import_book(manuscript(1), source_id="my novel"))
        world.run()
        world.call("DELETE", f"/api/books/{books[-1]}")
        world.clock.advance(3600)

    assert books[0] == books[1]
    assert len(set(app.ids)) == 2


def test_another_implementation_of_the_specification_verifies_the_signature(world: World, app: Receiver) -> None:
    secret = create_webhook(world, app)["secret"]
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    world.clock.now = datetime.now(UTC)  # the verifier refuses what was signed long ago
    world.import_book(manuscript(1), title="Émile")
    world.run()

    (received,) = app.received
    told = IndependentVerifier(secret).verify(received.body, received.headers)
    assert told["data"]["title"] == "Émile"
    with pytest.raises(Exception, match="No matching signature"):
        IndependentVerifier(secret).verify(received.body.replace(b"completed", b"abandoned"), received.headers)


def test_the_documents_own_check_takes_what_is_ours_and_nothing_else(world: World, app: Receiver) -> None:
    secret = create_webhook(world, app)["secret"]
    world.clock.now = datetime.now(UTC)
    world.import_book(manuscript(1))
    world.run()
    section = (Path(__file__).parents[2] / "infra" / "README.md").read_text("utf-8").partition("## Webhooks")[2]
    names: dict[str, Any] = {"hmac": hmac, "base64": base64, "time": time}
    exec(section.partition("```python\n")[2].partition("```")[0], names)
    is_ours, (received,) = names["is_ours"], app.received

    assert is_ours(secret, received.headers, received.body)
    assert not is_ours(secret, received.headers, received.body + b" ")
    assert not is_ours(create_webhook(world, app)["secret"], received.headers, received.body)
    assert not is_ours(secret, received.headers | {"webhook-timestamp": "1"}, received.body)


def test_a_book_that_fails_is_told_with_a_code_and_nothing_technical(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    refuse_vectors(world, 1)
    world.import_book(manuscript(1))
    world.run()

    (told,) = payloads(app)
    assert (told["type"], told["data"]["status"], told["data"]["error"]["code"]) == (
        "book.failed",
        "failed",
        "rejected",
    )
    assert set(told["data"]["error"]) == {"code", "message"}
    assert b"the model refuses" not in app.received[0].body


def test_a_book_that_lacks_a_chapter_is_told_apart_and_its_mending_is_told_too(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    refuse_vectors(world, 4)
    book_id = world.import_book(manuscript(12))
    world.run()
    world.embedder.before = None
    redrive(world, book_id=book_id)
    world.app.reconcile()
    world.run()

    assert [t["type"] for t in payloads(app)] == ["book.completed_with_failures", "book.completed"]
    assert [t["data"]["chapters"]["failed"] for t in payloads(app)] == [1, 0]


def test_a_retry_that_fails_as_before_tells_nothing_new(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    refuse_vectors(world, 1)
    book_id = world.import_book(manuscript(1))
    for _ in range(2):
        world.run()
        redrive(world, book_id=book_id)
        world.app.reconcile()
    world.embedder.before = None
    world.run()

    assert [t["type"] for t in payloads(app)] == ["book.failed", "book.completed"]


def test_replays_and_duplicates_tell_nothing_twice(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    world.import_book(manuscript(2))
    world.run(copies=3)
    for message in tuple(world.broker.published):
        world.deliver(message)

    assert len(app.received) == 1


def test_each_version_is_told_and_no_move_to_another_model_is(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    for changed in ([], [1]):
        world.import_book(manuscript(2, changed=changed), google_doc_id="d")
        world.run()
    assert [t["data"]["version"] for t in payloads(app)] == [1, 2]

    world.import_book(manuscript(2, changed=[2]), google_doc_id="d")
    world.rows("UPDATE book_versions SET cause = 'reembed' WHERE version = 3 RETURNING 1")
    world.run()
    assert len(app.received) == 2


def test_an_app_is_told_what_it_asked_for_and_nothing_of_before(world: World, app: Receiver) -> None:
    world.import_book(manuscript(1))
    world.run()
    create_webhook(world, app, events=["book.failed"])
    world.import_book(manuscript(1, name="b"))
    world.run()
    refuse_vectors(world, 1)
    world.import_book(manuscript(1, name="c"))
    world.run()

    assert [t["type"] for t in payloads(app)] == ["book.failed"]


@pytest.mark.parametrize("events", [[], ["alert.raised"], ["book.imported"]])
def test_nobody_subscribes_to_what_can_not_happen(world: World, app: Receiver, events: list[str]) -> None:
    refused = world.call("POST", "/api/webhooks", {"url": app.url, "events": events})
    assert (refused.status_code, refused.json["code"]) == (422, "invalid_fields")


def test_another_user_learns_nothing_and_changes_nothing(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    book_id = world.import_book(manuscript(1))
    world.import_book(manuscript(1, name="b"), user="ben")
    world.run()
    (delivery,) = deliveries_of(world, webhook)
    path = f"/api/webhooks/{webhook['webhook_id']}"

    assert [t["data"]["book_id"] for t in payloads(app)] == [book_id]
    for user in ("ben", "root"):
        assert world.get("/api/webhooks", user=user).json == {"webhooks": []}
        for method, what in [
            ("DELETE", path),
            ("POST", f"{path}/enable"),
            ("GET", f"{path}/deliveries"),
            ("POST", f"{path}/deliveries/{delivery['delivery_id']}/resend"),
        ]:
            refused = world.call(method, what, user=user)
            assert (refused.status_code, refused.json["code"]) == (404, "unknown_webhook")
    other = create_webhook(world, app, user="ben")
    wrong = world.call(
        "POST", f"/api/webhooks/{other['webhook_id']}/deliveries/{delivery['delivery_id']}/resend", user="ben"
    )
    assert (wrong.status_code, wrong.json["code"]) == (404, "unknown_delivery")


def test_a_key_that_only_reads_lists_webhooks_and_makes_none(world: World, app: Receiver) -> None:
    token = world.call("POST", "/api/keys", {"name": "monitor", "scopes": ["read"]}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}

    assert world.http.get("/api/webhooks", headers=headers).status_code == 200
    assert world.http.post("/api/webhooks", json={"url": app.url}, headers=headers).status_code == 403


def test_the_secret_is_told_once_and_logged_never(
    world: World, app: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = create_webhook(world, app)["secret"].removeprefix("whsec_")
    world.import_book(manuscript(1))
    world.run()
    world.clock.advance(5)
    world.rows("UPDATE webhook_deliveries SET state = 'pending', next_attempt_at = created_at RETURNING 1")
    claimed = world.app.webhook_deliveries.claim(world.app.new_id(), world.clock(), world.clock())

    assert claimed is not None
    assert claimed.secret == base64.b64decode(secret)
    assert "secret" not in repr(claimed)
    assert "secret" not in world.get("/api/webhooks").json["webhooks"][0]
    logged = capsys.readouterr()
    assert "webhook.attempt" in logged.out + logged.err
    assert secret not in logged.out + logged.err
    assert app.url not in logged.out + logged.err


def test_a_user_has_so_many_webhooks_and_no_more(world: World, app: Receiver) -> None:
    for _ in range(20):
        create_webhook(world, app)
    refused = world.call("POST", "/api/webhooks", {"url": app.url})

    assert (refused.status_code, refused.json["code"]) == (409, "too_many_webhooks")
    create_webhook(world, app, user="ben")


def test_a_deleted_webhook_and_a_deleted_book_take_their_deliveries_with_them(world: World, app: Receiver) -> None:
    kept, gone = create_webhook(world, app), create_webhook(world, app)
    book_id = world.import_book(manuscript(1))
    app.answer(500, 500)
    world.run()
    assert world.call("DELETE", f"/api/webhooks/{gone['webhook_id']}").status_code == 204
    assert len(world.rows("SELECT 1 FROM webhook_deliveries")) == 1

    assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204
    assert deliveries_of(world, kept) == []


def test_deliveries_are_listed_in_pages_and_kept_for_thirty_days(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    for n in range(3):
        world.import_book(manuscript(1, name=str(n)))
        world.run()
    first = deliveries_of(world, webhook, limit=2)
    second = deliveries_of(world, webhook, limit=2, after=first[-1]["delivery_id"])
    assert [len(first), len(second)] == [2, 1]
    assert len({d["event_id"] for d in first + second}) == 3

    world.clock.advance(30 * 86_400 + 1)
    assert world.app.retention.drop(world.clock(), 100)["webhook_deliveries"] == 3
    assert deliveries_of(world, webhook) == []
