"""An outage is weather: a model or a service that stays away fails nothing, and needs no operator when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from shared.domain.breaker import FIRST_PAUSE_SECONDS
from shared.domain.errors import ModelUnavailable, Unavailable
from shared.domain.stages import MAX_REDELIVERY_SECONDS, MAX_RETRY_AFTER_SECONDS, STAGES, JobType
from shared.ports import Message
from tests.support.failing_books import list_dead_letters
from tests.support.world import World, manuscript

CHAPTER = JobType.CHAPTER_PROCESSING


class Weather:
    """Makes both models answer 429 from one second to another, after the world began; `calls` has the second of each
    call, and `vain` of those that were refused."""

    def __init__(self, world: World, start: float, end: float, retry_after: float | None = None) -> None:
        self._world, self._start, self._end = world, start, end
        self._retry_after = retry_after
        self._began = world.clock()
        self.calls: list[float] = []
        self.vain: list[float] = []
        world.embedder.before = lambda texts: self._call()
        world.extractor.before = lambda text: self._call()

    @property
    def second(self) -> float:
        return (self._world.clock() - self._began).total_seconds()

    def _call(self) -> None:
        if self._start <= self.second < self._end:
            self.vain.append(self.second)
            raise ModelUnavailable("429: quota exceeded", retry_after=self._retry_after)
        self.calls.append(self.second)


class Streets:
    """Delivers as a broker with backoff does, second by second; each second's work is `rate` messages of a topic."""

    def __init__(self, world: World, rate: int = 4) -> None:
        self._world, self._rate = world, rate
        self._later: list[tuple[datetime, int, Message]] = []

    def seconds(self, count: int, step: int = 1) -> Iterator[int]:
        """Let time pass; `reconcile` runs each minute."""
        for second in range(step, count + 1, step):
            self._world.clock.advance(step)
            now = self._world.clock()
            self._deliver([(1, m) for m in self._take()] + [(n, m) for at, n, m in self._later if at <= now], now)
            if second % 60 == 0:
                self._world.app.reconcile()
            yield second

    def _take(self) -> list[Message]:
        taken: list[Message] = []
        for topic in STAGES:
            some = [m for m in self._world.broker.waiting if m.topic == topic][: self._rate]
            for message in some:
                self._world.broker.waiting.remove(message)
            taken += some
        return taken

    def _deliver(self, messages: list[tuple[int, Message]], now: datetime) -> None:
        self._later = [entry for entry in self._later if entry[0] > now]
        for deliveries, message in messages:
            if self._world.deliver(message, deliveries) >= 300:
                wait = min(MAX_REDELIVERY_SECONDS, 2.0 ** (deliveries - 1))
                self._later.append((now + timedelta(seconds=wait), deliveries + 1, message))


def statuses(world: World) -> set[str]:
    return {r["status"] for r in world.rows("SELECT status FROM processing_status WHERE entity_type = 'book'")}


def test_ten_minutes_of_429_amid_twenty_books_need_no_operator(world: World) -> None:
    for n in range(20):
        world.import_book(manuscript(8, 120, name=f"{n} "), title=f"Book {n}", user=f"user {n % 3}")
    weather = Weather(world, 20, 620)

    for _ in Streets(world).seconds(1_500):
        if statuses(world) == {"completed"}:
            break
    assert statuses(world) == {"completed"}
    assert world.rows("SELECT 1 FROM dead_letters") == []
    assert len(weather.vain) <= 30
    after = [s for s in weather.calls if s >= 620]
    # As many chapters a second as before it, within a minute of its end.
    assert sum(680 <= s < 690 for s in after) >= sum(10 <= s < 20 for s in weather.calls) > 0 or max(after) < 680
    assert world.rows("SELECT max(attempts) AS n FROM jobs") == [{"n": 1}]


@pytest.mark.parametrize("seconds", [5, 8, 30])
def test_a_short_outage_fails_no_chapter(world: World, seconds: int) -> None:
    book_id = world.import_book(manuscript(30, 60))
    Weather(world, 3, 3 + seconds)

    for _ in Streets(world).seconds(300):
        if statuses(world) == {"completed"}:
            break
    status = world.status(book_id)
    assert (status["status"], status["chapters"]["failed"]) == ("completed", 0)


def test_a_book_says_that_it_waits_and_for_what_and_until_when(world: World) -> None:
    book_id = world.import_book(manuscript(6, 60))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    world.deliver(world.take(JobType.EMBEDDING_GENERATION))
    Weather(world, 0, 1_000)
    for _ in Streets(world).seconds(5):
        pass

    status = world.status(book_id)
    assert (status["status"], status["waiting_for"]) == ("waiting", "generating-model")
    assert status["error"]["code"] == "model_unavailable"
    assert status["next_attempt_at"] is not None
    document = world.live_documents.get(f"books/{book_id}")
    assert document is not None
    assert (document.fields["status"], document.fields["waiting_for"]) == ("waiting", "generating-model")


def test_books_that_never_asked_say_for_what_they_wait_within_a_minute_and_go_on_when_it_is_over(world: World) -> None:
    first = world.import_book(manuscript(25, 60))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    Weather(world, 0, 200)
    streets = Streets(world)
    for _ in streets.seconds(10):
        pass
    later = world.import_book(manuscript(3, 60, name="later"), title="Later")
    for _ in streets.seconds(61):
        pass

    assert world.status(first)["status"] == world.status(later)["status"] == "waiting"
    for _ in streets.seconds(400):
        if statuses(world) == {"completed"}:
            break
    assert statuses(world) == {"completed"}
    assert world.status(later)["waiting_for"] is None


def test_retry_after_is_honoured_by_the_whole_stage(world: World) -> None:
    world.import_book(manuscript(20, 60))
    weather = Weather(world, 4, 100, retry_after=300)
    for _ in Streets(world).seconds(700):
        if statuses(world) == {"completed"}:
            break

    assert statuses(world) == {"completed"}
    assert len(weather.vain) <= 4
    assert not [s for s in weather.calls if 104 <= s < 304 and s not in weather.vain]


def test_another_stage_goes_on_while_one_is_paused(world: World) -> None:
    book_id = world.import_book(manuscript(6, 60))
    weather = Weather(world, 0, 10_000)
    world.embedder.before = None
    for _ in Streets(world).seconds(20):
        pass

    status = world.status(book_id)
    assert (status["chapters"]["embedded"], status["chapters"]["processed"]) == (6, 0)
    assert len(weather.vain) <= 4


def test_a_job_waits_for_long_and_then_fails_and_is_tried_again_when_the_service_is_back(dsn: str) -> None:
    with closing(World(dsn, outage_hours=0.5)) as world:
        book_id = world.import_book(manuscript(2, 60))
        Weather(world, 0, 3_600)
        streets = Streets(world)
        for _ in streets.seconds(1_700, step=10):
            pass
        assert world.status(book_id)["status"] in ("waiting", "retrying")
        assert world.rows("SELECT 1 FROM dead_letters") == []

        for _ in streets.seconds(1_800, step=10):
            pass
        letters = world.rows("SELECT DISTINCT error_class, is_passing FROM dead_letters")
        assert letters == [{"error_class": "ModelUnavailable", "is_passing": True}]
        for _ in streets.seconds(3_600, step=10):
            if statuses(world) == {"completed"}:
                break
        assert world.status(book_id)["status"] == "completed"
        assert list_dead_letters(world, state="open") == []


def test_a_message_that_the_broker_gave_up_while_its_job_waited_fails_nothing(world: World) -> None:
    book_id = world.import_book(manuscript(2, 60))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    Weather(world, 0, 100)
    message = world.take(CHAPTER)
    assert world.deliver(message) == 204
    assert message in world.broker.waiting
    world.broker.waiting.remove(message)
    world.deliver(Message(topic=JobType.DEAD_LETTER, data=message.data, attributes={}))

    assert world.rows("SELECT 1 FROM dead_letters") == []
    for _ in Streets(world).seconds(300):
        pass
    assert world.status(book_id)["status"] == "completed"


def test_a_job_that_finds_its_stage_paused_is_published_anew_as_soon_as_it_goes_on(world: World) -> None:
    world.import_book(manuscript(3, 60))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    first, asks, late = (m for m in list(world.broker.waiting) if m.topic == CHAPTER)
    world.clock.advance(1)
    Weather(world, 0, 10)
    world.deliver(first)
    world.deliver(asks)
    world.clock.advance(FIRST_PAUSE_SECONDS)
    world.deliver(asks)
    world.broker.waiting.clear()

    assert world.deliver(late) == 204
    assert late in world.broker.waiting


def test_a_job_whose_functions_were_away_is_tried_again_without_being_asked(world: World) -> None:
    book_id = world.import_book(manuscript(2, 60))
    message = world.take(JobType.BOOK_PROCESSING)
    world.deliver(Message(topic=JobType.DEAD_LETTER, data=message.data, attributes={}))
    assert world.status(book_id)["status"] == "failed"

    for _ in Streets(world).seconds(200):
        pass
    assert world.status(book_id)["status"] == "completed"


def test_a_database_that_is_busy_costs_no_attempt_and_pauses_no_stage(world: World) -> None:
    faults = iter([Unavailable("PostgreSQL: QueryCanceled")] * 5)
    world.import_book(manuscript(2, 60))
    world.extractor.before = lambda _: _raise(next(faults, None))
    for _ in Streets(world).seconds(300):
        pass

    assert statuses(world) == {"completed"}
    assert world.rows("SELECT max(attempts) AS n FROM jobs") == [{"n": 1}]
    assert world.rows("SELECT 1 FROM dependencies") == []


def test_a_book_without_a_job_that_stands_still_goes_on(world: World) -> None:
    book_id = world.import_book(manuscript(2, 60))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    while messages := [m for m in world.broker.waiting if m.topic == CHAPTER]:
        world.broker.waiting.remove(messages[0])
        world.deliver(messages[0])
    with world.app.database.transaction() as connection:
        connection.execute("DELETE FROM jobs WHERE data->>'mode' = 'full'")
        connection.execute("UPDATE jobs SET state = 'completed', permitted_at = NULL")
        connection.execute("UPDATE recent_chapters SET embedding_timestamp = now()")
    world.broker.waiting.clear()

    world.clock.advance(60)
    world.app.reconcile()
    world.run()
    assert world.status(book_id)["status"] == "completed"


def _raise(error: Exception | None) -> None:
    if error:
        raise error


def test_what_a_service_asks_for_is_kept_within_reason(world: World) -> None:
    world.import_book(manuscript(2, 60))
    Weather(world, 0, 100, retry_after=1e12)
    for _ in Streets(world).seconds(5):
        pass
    (row,) = world.rows("SELECT max(retry_at) AS latest FROM dependencies")
    assert (row["latest"] - world.clock()).total_seconds() <= MAX_RETRY_AFTER_SECONDS
