"""Many books at once over Pub/Sub's push, as it is documented: waiting costs no refusals, and no user another's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from shared.domain.stages import STAGES, JobType
from tests.support.push_model import (
    LONGEST_STOP,
    OneChapterAtOnce,
    Push,
    PushSubscription,
    are_completed,
    backoff,
    import_books,
)
from tests.support.world import World

GROUPS, SECONDS = 5, 2.0
EMBEDDING = STAGES[JobType.EMBEDDING_GENERATION]


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    with closing(World(dsn, OneChapterAtOnce())) as made:
        yield made


def test_many_books_at_once_take_little_longer_than_the_narrowest_stage_and_are_delivered_once(world: World) -> None:
    books = import_books(world, 12, "ann", GROUPS)
    with closing(Push(world, SECONDS)) as push:
        took = push.run(lambda: are_completed(world, books))

    jobs = world.rows("SELECT count(*)::int AS n FROM jobs")[0]["n"]
    embeddings = world.rows("SELECT count(*)::int AS n FROM jobs WHERE type = 'embedding-generation'")[0]["n"]
    assert embeddings == 12 * GROUPS
    ideal = embeddings * SECONDS / EMBEDDING.concurrency + 2 * SECONDS
    assert took <= 1.3 * ideal
    assert push.deliveries.total() <= 1.1 * jobs


def test_a_book_behind_many_of_another_user_takes_at_most_twice_its_time(world: World) -> None:
    (alone,) = import_books(world, 1, "ben", GROUPS)
    with closing(Push(world, SECONDS)) as push:
        took_alone = push.run(lambda: are_completed(world, [alone]))
        others = import_books(world, 20, "ann", GROUPS)
        push.run(lambda: push.now >= took_alone + 10)
        began = push.now
        (bens,) = import_books(world, 1, "ben again", GROUPS)

        assert push.run(lambda: are_completed(world, [bens])) - began <= 2 * took_alone
        assert not are_completed(world, others)


def test_the_model_slows_a_subscription_that_refuses_and_opens_one_that_acknowledges() -> None:
    subscription = PushSubscription(outstanding=20)
    for _ in range(10):
        subscription.acknowledged()
    assert subscription.window == 13
    for now in range(10):
        subscription.refused(now)

    assert subscription.window == 1
    assert subscription.stopped_until == 9 + 0.1 * 2**9
    for now in range(20):
        subscription.refused(now)
    assert subscription.stop == LONGEST_STOP
    assert [backoff(n) for n in (1, 2, 7, 50)] == [10, 20, 600, 600]
