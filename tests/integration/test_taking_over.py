"""What a local stack finds of the one before it: data, but no process, no message and no live document."""

from __future__ import annotations

from infra.local.database import publish_again, take_over
from shared.use_cases.reconcile import Reconciled
from tests.support.world import World, manuscript


def reconcile_at_once(world: World) -> Reconciled:
    """Loses all messages first."""
    world.broker.waiting.clear()
    result: Reconciled = world.app.reconcile()
    return result


def test_work_that_was_under_way_is_sent_again_at_once(world: World) -> None:
    book = world.import_book(manuscript())
    world.app.store.claim(f"book-{book}-v1", world.clock())

    take_over(world.dsn)

    assert reconcile_at_once(world).published == 1
    world.run()
    assert world.status(book)["status"] == "completed"


def test_work_that_waited_is_sent_again_at_once(world: World) -> None:
    book = world.import_book(manuscript())
    world.deliver(world.take(world.broker.waiting[0].topic))  # type: ignore[arg-type]
    waiting = len(world.broker.waiting)
    assert waiting > 1
    assert reconcile_at_once(world).published == 0, "the broker would deliver it"

    publish_again(world.dsn)

    assert reconcile_at_once(world).published == waiting
    world.run()
    assert world.status(book)["status"] == "completed"
