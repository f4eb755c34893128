"""Leases, heartbeats, limits: what keeps two from doing the same, and one from doing too much."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from shared.adapters.postgres.database import Database
from shared.domain.errors import Unavailable
from shared.domain.stages import HEARTBEAT_SECONDS, LEASE_SECONDS, STAGES, JobType
from shared.ports import Message
from tests.support.world import World, await_lock, clocked, manuscript


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
    leases = world.app.leases

    class FailingRenewals:
        def __init__(self) -> None:
            self.down = True

        def renew(self, *about: Any) -> None:
            if self.down:
                raise Unavailable("no database")
            leases.renew(*about)

    renewals = FailingRenewals()
    world.app.heartbeat.leases = renewals

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


def test_a_row_that_another_session_holds_costs_no_other_attempt_of_its_process_the_lease(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=2))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    kept, held = (world.take(JobType.CHAPTER_PROCESSING) for _ in range(2))
    under_way, go_on, asked = threading.Semaphore(0), threading.Event(), list[str]()

    def slow(text: str) -> None:
        asked.append(text)
        under_way.release()
        assert go_on.wait(60)

    world.extractor.before = slow
    with ThreadPoolExecutor(2) as pool, psycopg.connect(world.dsn) as holding:
        answers = [pool.submit(world.deliver, m) for m in (kept, held)]
        try:
            assert under_way.acquire(timeout=20)
            assert under_way.acquire(timeout=20)
            holding.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (held.data["job_id"],))
            for _ in range(4):
                world.clock.advance(HEARTBEAT_SECONDS)
                world.app.heartbeat.beat()
            second = world.deliver(kept)
            holding.rollback()
            # That of the row itself ran out, and nobody could take it over: the next beat prolongs it.
            world.app.heartbeat.beat()
            third = world.deliver(held)
        finally:
            go_on.set()
        assert [a.result(60) for a in answers] == [204, 204]

    assert 4 * HEARTBEAT_SECONDS > LEASE_SECONDS
    assert (second, third, len(asked)) == (429, 429, 2)
    world.extractor.before = None
    world.run()
    assert world.status(book_id)["status"] == "completed"
    assert world.rows("SELECT sum(abandoned) AS n FROM jobs") == [{"n": 0}]


def test_a_pool_that_is_full_costs_no_lease(dsn: str) -> None:
    with closing(World(dsn, pool_size=2, connect_seconds=1)) as world, closing(World(dsn)) as another:
        database = world.app.database
        answers: list[int] = []

        def fill_the_pool(text: str) -> None:
            world.extractor.before = None
            with database.transaction(), database.transaction():
                for _ in range(4):
                    world.clock.advance(HEARTBEAT_SECONDS)
                    world.app.heartbeat.beat()
                another.clock.now = world.clock.now
                answers.append(another.deliver(first_of(world, JobType.CHAPTER_PROCESSING)))

        _, answer = chapter_job(world, fill_the_pool)

        assert (answer, answers) == (204, [429])


def test_the_heartbeat_runs_by_itself_while_work_goes_on(world: World) -> None:
    beaten = threading.Event()
    leases = world.app.leases

    class ReportedRenewals:
        def renew(self, *about: Any) -> None:
            leases.renew(*about)
            beaten.set()

    world.app.heartbeat.leases = ReportedRenewals()
    world.app.heartbeat.seconds = 0.01

    def slow(text: str) -> None:
        world.extractor.before = None
        assert beaten.wait(30)

    _, answer = chapter_job(world, slow)
    assert answer == 204


def test_a_process_whose_clock_is_an_hour_ahead_takes_over_no_living_attempt(world: World) -> None:
    ahead = World(world.dsn, overrides={"database": Database(world.dsn, 2, clocked(world.clock))})
    ahead.clock.advance(3600)
    answers: list[int] = []

    def deliver_elsewhere(text: str) -> None:
        world.extractor.before = None
        ahead.app.heartbeat.beat()
        answers.append(ahead.deliver(first_of(world, JobType.CHAPTER_PROCESSING)))

    with closing(ahead):
        _, answer = chapter_job(world, deliver_elsewhere)

    assert (answer, answers) == (204, [429])


def test_a_lease_begins_when_the_row_is_free_however_long_that_took(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=1))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.CHAPTER_PROCESSING)
    under_way, go_on, asked = threading.Event(), threading.Event(), list[str]()

    def slow(text: str) -> None:
        asked.append(text)
        under_way.set()
        assert go_on.wait(60)

    world.extractor.before = slow
    with ThreadPoolExecutor(1) as pool, psycopg.connect(world.dsn) as holding:
        try:
            holding.execute("SELECT 1 FROM jobs WHERE job_id = %s FOR UPDATE", (message.data["job_id"],))
            first = pool.submit(world.deliver, message)
            await_lock(world)
            world.clock.advance(LEASE_SECONDS + 1)
            holding.rollback()
            assert under_way.wait(20)
            second = world.deliver(message)
        finally:
            go_on.set()
        assert first.result(60) == 204

    assert (second, len(asked)) == (429, 1)
    assert world.rows("SELECT sum(abandoned) AS n FROM jobs WHERE book_id = %s", book_id) == [{"n": 0}]


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
