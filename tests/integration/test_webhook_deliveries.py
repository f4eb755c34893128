"""Deliveries survive crashes, lost messages and endpoints that are slow, down or gone; and are sent one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from shared.domain.stages import JobType
from shared.domain.webhooks import RETRY_SECONDS
from tests.support.receiver import Receiver
from tests.support.webhooks import create_webhook, deliveries_of
from tests.support.world import World, manuscript

DAY = 86_400


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    made = World(dsn, webhooks_allow_private=True, overrides={"random": lambda: 0.0})
    yield made
    made.close()


@pytest.fixture
def app() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def complete_book(world: World, name: str = "", user: str = "ann") -> str:
    book_id = world.import_book(manuscript(1, name=name), user=user)
    world.run()
    return book_id


def minute_later(world: World, seconds: float = 60) -> None:
    """`reconcile` runs, and what it publishes arrives."""
    world.clock.advance(seconds)
    world.app.reconcile()
    world.run()


def the_delivery(world: World, webhook: Any) -> Any:
    (delivery,) = deliveries_of(world, webhook)
    return delivery


def test_what_was_committed_is_told_though_no_message_was_published(world: World, app: Receiver) -> None:
    """The process dies between commit and publish, or the broker is down, or loses it: all look the same."""
    create_webhook(world, app)
    world.import_book(manuscript(1))
    while world.broker.waiting:
        if world.broker.waiting[0].topic == JobType.BOOK_COMPLETION:
            world.broker.down = True
        world.deliver(world.broker.waiting.pop(0))
    assert app.received == []
    assert world.rows("SELECT state FROM webhook_deliveries") == [{"state": "pending"}]

    world.broker.down = False
    minute_later(world)
    assert len(app.received) == 1
    minute_later(world)
    assert len(app.received) == 1


def test_without_anything_due_reconcile_wakes_nobody(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    complete_book(world)
    before = len(world.broker.published)
    minute_later(world)

    assert len(world.broker.published) == before


@pytest.mark.parametrize("was_received", [False, True])
def test_a_sender_that_dies_on_its_way_is_followed_by_another_with_the_same_event(
    world: World, app: Receiver, was_received: bool
) -> None:
    webhook = create_webhook(world, app)
    send = world.app.webhook_sender.send

    class Dying:
        dies = True

        def send(self, *sent: Any) -> Any:
            if was_received or not self.dies:
                answer = send(*sent)
            if self.dies:
                raise SystemExit("killed")
            return answer

    sender = Dying()
    object.__setattr__(world.app.push.deliver_webhooks, "sender", sender)
    with pytest.raises(SystemExit):
        complete_book(world)
    minute_later(world)
    assert len(app.received) == int(was_received), "its lease is not over"

    sender.dies = False
    minute_later(world, 120)
    assert the_delivery(world, webhook)["state"] == "delivered"
    assert len(app.received) == 1 + int(was_received)
    assert len(set(app.ids)) == 1


def test_who_was_overtaken_writes_nothing(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    app.answer(500)
    app.before = lambda: world.rows("UPDATE webhooks SET lease = gen_random_uuid() RETURNING 1")
    complete_book(world)

    assert (the_delivery(world, webhook)["state"], the_delivery(world, webhook)["attempts"]) == ("pending", 0)


def test_of_two_senders_at_once_one_sends(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    arrived, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        assert go_on.wait(20)

    app.before = hold
    world.import_book(manuscript(1))
    while world.broker.waiting[0].topic != JobType.NOTIFICATIONS:
        world.deliver(world.broker.waiting.pop(0))
    message = world.take(JobType.NOTIFICATIONS)
    first = threading.Thread(target=world.deliver, args=(message,))
    first.start()
    assert arrived.wait(20)
    assert world.deliver(message) == 204
    go_on.set()
    first.join()

    assert len(app.received) == 1


def test_a_slow_endpoint_holds_up_no_other(dsn: str) -> None:
    from shared.pipeline.at_once import at_once

    slow, quick, let_go = Receiver(), Receiver(), threading.Event()
    world = World(dsn, webhooks_allow_private=True, overrides={"at_once": at_once})
    slow.before = lambda: let_go.wait(20)
    quick.before = let_go.set
    create_webhook(world, slow)
    create_webhook(world, quick)
    complete_book(world)
    world.close()

    assert (len(slow.received), len(quick.received)) == (1, 1)
    assert let_go.is_set()
    slow.close()
    quick.close()


def test_it_is_tried_again_by_the_specifications_schedule_and_then_given_up(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    app.answer(*[500] * 20)
    complete_book(world)
    waits = []
    while (now := the_delivery(world, webhook))["state"] == "pending":
        (row,) = world.rows("SELECT next_attempt_at - last_attempt_at AS wait, next_attempt_at FROM webhook_deliveries")
        waits.append(row["wait"].total_seconds())
        world.clock.now = row["next_attempt_at"] - timedelta(seconds=1)
        minute_later(world, 0)
        assert the_delivery(world, webhook)["attempts"] == now["attempts"], "not before it is due"
        minute_later(world, 1)

    assert tuple(waits) == RETRY_SECONDS
    assert (now["state"], now["attempts"], now["last_status"], now["last_error"]) == ("failed", 10, 500, "status")
    assert now["next_attempt_at"] is None
    assert len(set(app.ids)) == 1
    assert len({r.body for r in app.received}) == 1
    assert len({r.headers["webhook-timestamp"] for r in app.received}) == 10, "each attempt is signed anew"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_an_endpoint_that_asks_for_time_gets_it(world: World, app: Receiver, status: int, as_date: bool) -> None:
    webhook = create_webhook(world, app)
    later = world.clock() + timedelta(seconds=600)
    app.answer((status, {"Retry-After": format_datetime(later, usegmt=True) if as_date else "600"}))
    complete_book(world)
    complete_book(world, "b")
    minute_later(world, 590)
    assert len(app.received) == 1, "no other event comes meanwhile"

    minute_later(world, 10)
    assert {d["state"] for d in deliveries_of(world, webhook)} == {"delivered"}


@pytest.mark.parametrize("asked", ["soon", "-5", "9" * 400, "Thu, 99 Foo 2026", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_what_an_endpoint_asks_for_is_bounded(world: World, app: Receiver, asked: str) -> None:
    webhook = create_webhook(world, app)
    app.answer((503, {"Retry-After": asked}))
    complete_book(world)
    minute_later(world, DAY)

    assert the_delivery(world, webhook)["state"] == "delivered"


@pytest.mark.parametrize("status", [199 + 101, 301, 302, 400, 404, 500])
def test_only_success_is_success_and_nothing_is_followed(world: World, app: Receiver, status: int) -> None:
    elsewhere = Receiver()
    webhook = create_webhook(world, app)
    app.answer((status, {"Location": elsewhere.url}))
    complete_book(world)

    delivery = the_delivery(world, webhook)
    assert (delivery["state"], delivery["last_status"], delivery["last_error"]) == ("pending", status, "status")
    assert elsewhere.received == []
    elsewhere.close()


def test_an_endpoint_that_is_gone_is_disabled_at_once_and_kept(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    app.answer(410)
    complete_book(world)
    complete_book(world, "b")
    minute_later(world, DAY)

    assert len(app.received) == 1
    (entry,) = world.get("/api/webhooks").json["webhooks"]
    assert (entry["disabled_because"], entry["webhook_id"]) == ("gone", webhook["webhook_id"])
    delivery = the_delivery(world, webhook)
    path = f"/api/webhooks/{webhook['webhook_id']}"
    refused = world.call("POST", f"{path}/deliveries/{delivery['delivery_id']}/resend")
    assert (delivery["state"], refused.status_code, refused.json["code"]) == ("failed", 409, "webhook_disabled")

    assert world.call("POST", f"{path}/enable").json["disabled_at"] is None
    complete_book(world, "c")
    assert len(app.received) == 2


def test_an_endpoint_that_has_failed_for_five_days_is_disabled_and_goes_on_when_it_is_enabled(
    world: World, app: Receiver
) -> None:
    webhook = create_webhook(world, app)
    app.answer(*[500] * 3)
    complete_book(world)
    minute_later(world, 5 * DAY - 1)
    (entry,) = world.get("/api/webhooks").json["webhooks"]
    assert (entry["disabled_at"], entry["failing_since"]) == (None, "2026-01-01T00:00:00Z")

    minute_later(world, 400)
    (entry,) = world.get("/api/webhooks").json["webhooks"]
    assert entry["disabled_because"] == "failing"
    minute_later(world, DAY)
    assert len(app.received) == 3

    world.call("POST", f"/api/webhooks/{webhook['webhook_id']}/enable")
    world.run()
    assert the_delivery(world, webhook)["state"] == "delivered"


def test_a_success_ends_what_was_failing(world: World, app: Receiver) -> None:
    create_webhook(world, app)
    app.answer(500)
    complete_book(world)
    minute_later(world, 3 * DAY)
    app.answer(500)
    complete_book(world, "b")
    minute_later(world, 3 * DAY)

    (entry,) = world.get("/api/webhooks").json["webhooks"]
    assert (entry["disabled_at"], entry["failing_since"]) == (None, None)
    assert len(app.received) == 4


def test_an_event_is_sent_again_by_hand_with_its_id(world: World, app: Receiver) -> None:
    webhook = create_webhook(world, app)
    complete_book(world)
    delivery = the_delivery(world, webhook)
    path = f"/api/webhooks/{webhook['webhook_id']}/deliveries/{delivery['delivery_id']}/resend"
    reply = world.call("POST", path)
    world.run()

    assert (reply.status_code, reply.json["state"]) == (202, "pending")
    assert app.ids == [delivery["event_id"]] * 2
    assert the_delivery(world, webhook)["state"] == "delivered"
