"""Leases, heartbeats, strict caps, limits: what keeps two from doing the same, and one from doing too much."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.postgres.concurrency_limiter import PostgresConcurrencyLimiter
from shared.domain.errors import Unavailable
from shared.domain.stages import HEARTBEAT_SECONDS, LEASE_SECONDS, STAGES, JobType
from shared.ports import Message
from tests.support.failing_books import FailingChapters, list_dead_letters, redrive
from tests.support.world import World, manuscript

EMBEDDING = STAGES[JobType.EMBEDDING_GENERATION]


def first_of(world: World, topic: JobType) -> Message:
    """The first message of a topic, which may be delivered already."""
    return next(m for m in world.broker.published if m.topic == topic)


def chapter_job(world: World, during: Callable[[str], None]) -> tuple[str, int]:
    """Delivers a chapter's message, calls `during` while its handler is at work, and returns book and answer."""
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.extractor.before = during
    return book_id, world.deliver(world.take(JobType.CHAPTER_PROCESSING))


def test_a_handler_slower_than_its_lease_keeps_it_as_long_as_it_lives(world: World) -> None:
    second: list[int] = []

    def slow(text: str) -> None:
        world.extractor.before = None
        for _ in range(20):
            world.clock.advance(HEARTBEAT_SECONDS)
            world.app.heartbeat.beat()
        second.append(world.deliver(first_of(world, JobType.CHAPTER_PROCESSING)))

    book_id, answer = chapter_job(world, slow)
    assert 20 * HEARTBEAT_SECONDS > 2 * LEASE_SECONDS
    assert (answer, second) == (204, [429])
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.rows("SELECT sum(abandoned) AS n FROM jobs") == [{"n": 0}]


def test_a_handler_that_takes_longer_than_its_stage_may_is_overtaken(world: World) -> None:
    def hang(text: str) -> None:
        world.extractor.before = None
        world.clock.advance(STAGES[JobType.CHAPTER_PROCESSING].timeout_seconds + 1)
        world.app.heartbeat.beat()
        world.clock.advance(LEASE_SECONDS + 1)
        assert world.deliver(first_of(world, JobType.CHAPTER_PROCESSING)) == 204

    book_id, answer = chapter_job(world, hang)
    assert answer == 429
    world.run()
    assert world.status(book_id)["status"] == "completed"


def test_a_heartbeat_that_fails_once_loses_nothing(world: World) -> None:
    store = world.app.store

    class FailingRenewals:
        def __init__(self) -> None:
            self.down = True

        def renew(self, *about: Any) -> None:
            if self.down:
                raise Unavailable("no database")
            store.renew(*about)

    renewals = FailingRenewals()
    world.app.heartbeat.store = renewals  # type: ignore[assignment]

    def slow(text: str) -> None:
        world.extractor.before = None
        world.clock.advance(HEARTBEAT_SECONDS)
        world.app.heartbeat.beat()
        renewals.down = False
        world.clock.advance(HEARTBEAT_SECONDS)
        world.app.heartbeat.beat()
        world.clock.advance(HEARTBEAT_SECONDS)

    _, answer = chapter_job(world, slow)
    assert answer == 204


def test_the_heartbeat_runs_by_itself_while_work_goes_on(world: World) -> None:
    beaten = threading.Event()
    store = world.app.store

    class ReportedRenewals:
        def renew(self, *about: Any) -> None:
            store.renew(*about)
            beaten.set()

    world.app.heartbeat.store = ReportedRenewals()  # type: ignore[assignment]
    world.app.heartbeat.seconds = 0.01

    def slow(text: str) -> None:
        world.extractor.before = None
        assert beaten.wait(30)

    _, answer = chapter_job(world, slow)
    assert answer == 204


@pytest.mark.parametrize("jump", [3600, -300])
def test_a_clock_that_jumps_in_the_middle_of_work_loses_nothing(world: World, jump: int) -> None:
    def leap(text: str) -> None:
        world.extractor.before = None
        world.clock.now += timedelta(seconds=jump)

    book_id, _ = chapter_job(world, leap)
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert set(world.embedder.calls.values()) == {1}


def test_two_deliveries_at_the_same_instant_do_the_work_once(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3))
    first = world.take(JobType.BOOK_PROCESSING)
    start = threading.Barrier(6)

    def deliver(_: int) -> int:
        start.wait(30)
        return world.deliver(first)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(deliver, range(6)))
    assert 204 in answers
    assert set(answers) <= {204, 429}
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.rows("SELECT max(attempts) AS n FROM jobs") == [{"n": 1}]
    assert set(world.embedder.calls.values()) == {1}


def test_the_cap_on_embedding_holds_over_all_instances(dsn: str) -> None:
    lock, running, most = threading.Lock(), 0, 0
    full, go_on = threading.Semaphore(0), threading.Event()

    def busy(texts: Sequence[str]) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.release()
        go_on.wait(60)
        with lock:
            running -= 1

    instances = [World(dsn, FakeEmbedder(before=busy)) for _ in range(3)]
    try:
        books = [instances[0].import_book(manuscript(chapters=1, words=60 + n)) for n in range(12)]
        for _ in books:
            instances[0].deliver(instances[0].take(JobType.BOOK_PROCESSING))
        waiting = [m for m in instances[0].broker.waiting if m.topic == JobType.EMBEDDING_GENERATION]
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(instances[n % 3].deliver, m) for n, m in enumerate(waiting)]
            for _ in range(EMBEDDING.concurrency):
                assert full.acquire(timeout=60)
            refused = [a for a in answers if a not in _pending(answers, len(waiting) - EMBEDDING.concurrency)]
            assert [a.result(60) for a in refused] == [429] * (12 - EMBEDDING.concurrency)
            go_on.set()
        assert most == EMBEDDING.concurrency
        states = instances[0].rows(
            "SELECT state, attempts, count(*) AS n FROM jobs WHERE type = 'embedding-generation' GROUP BY 1, 2 ORDER BY 1"
        )
        assert states == [
            {"state": "completed", "attempts": 1, "n": EMBEDDING.concurrency},
            {"state": "pending", "attempts": 0, "n": 12 - EMBEDDING.concurrency},
        ]
        instances[0].run()
        assert {instances[0].status(b)["status"] for b in books} == {"completed"}
    finally:
        for instance in instances:
            instance.close()


def _pending(answers: Sequence[Future[int]], done: int) -> list[Future[int]]:
    """Waits until so many are answered, and returns the others."""
    finished: set[Future[int]] = set()
    while len(finished) < done:
        finished = {a for a in answers if a.done()}
        if len(finished) < done:
            wait([a for a in answers if not a.done()], timeout=0.2, return_when="FIRST_COMPLETED")
    return [a for a in answers if a not in finished]


def test_permits_are_free_again_when_their_process_is_gone(world: World) -> None:
    mine, other = PostgresConcurrencyLimiter(world.app.database), PostgresConcurrencyLimiter(world.app.database)
    held = ExitStack()
    for _ in range(EMBEDDING.concurrency):
        assert held.enter_context(mine.acquire(EMBEDDING))
    with other.acquire(EMBEDDING) as taken:
        assert not taken

    mine.close()
    with other.acquire(EMBEDDING) as taken:
        assert taken
    other.close()
    held.close()


def test_a_user_has_a_limit_of_books_under_way(dsn: str) -> None:
    with closing(World(dsn, max_books_under_way=2)) as world:
        first = world.import_book(manuscript(1), title="One")
        world.import_book(manuscript(1), title="Two")
        refused = world.post({"title": "Three", "content": manuscript(1)})

        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
        assert "2 books are under way" in refused.json["detail"]
        assert len(world.rows("SELECT 1 FROM books")) == 2
        assert world.post({"title": "Ben's", "content": manuscript(1)}, user="ben").status_code == 202
        again = {"title": "One, changed", "content": manuscript(2), "book_id": first}
        assert world.post(again).status_code == 202
        world.run()
        assert world.post({"title": "Three", "content": manuscript(1)}).status_code == 202


def test_what_is_redriven_keeps_to_the_limit_of_books_under_way(dsn: str) -> None:
    with closing(World(dsn, max_books_under_way=1)) as world:
        broken = FailingChapters(world, 1, 2)
        for n in range(3):
            world.import_book(manuscript(chapters=2, name=f"{n} "), title=f"Book {n}")
            world.run()
        broken.numbers.clear()
        assert len(redrive(world, all=True)["accepted"]) == 9
        unfinished = (
            "SELECT 1 FROM processing_status WHERE entity_type = 'book' AND status IN ('pending', 'processing')"
        )
        for _ in range(10):
            assert len(world.rows(unfinished)) <= 1
            world.run()
            world.clock.advance(60)
            world.app.reconcile()
        assert list_dead_letters(world) == []
        assert {r["status"] for r in world.rows("SELECT status FROM processing_status")} == {"completed"}
