"""One suite for every broker's memory: what was delivered is delivered again, and only what was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.processes import free_port
from shared.adapters.google.pubsub_seek import PubSubSeekableBroker
from shared.adapters.memory import queue
from shared.adapters.memory.broker import MemoryBroker, Subscription
from shared.domain.errors import Rejected, SnapshotExists, Unavailable, UnknownSnapshot
from tests.support.brokers import (
    DEAD_LETTER,
    STAGE,
    Broker,
    Envelope,
    RecordingEndpoint,
    data_of,
    memory_broker,
    message,
)
from tests.support.world import Clock

TOPIC, OTHER = STAGE.type, DEAD_LETTER.type
MOMENT = timedelta(milliseconds=1)


def numbers(envelopes: Sequence[Envelope]) -> list[int]:
    return sorted(int(data_of(e)["job_id"].removeprefix("job-")) for e in envelopes)


def published_at(envelope: Envelope) -> datetime:
    return datetime.fromisoformat(envelope["message"]["publishTime"])


def deliver(broker: Broker, *which: int) -> list[Envelope]:
    """Publishes one after the other, each when the one before has arrived; returns what arrived meanwhile."""
    start = len(broker.stage.envelopes)
    for n in which:
        broker.publisher.publish([message(n)])
        broker.stage.wait_until(lambda envelopes, n=n: n in numbers(envelopes[start:]))  # type: ignore[misc]
    return broker.stage.envelopes[start:]


def test_what_was_published_since_a_time_is_delivered_again_as_the_same_messages(broker: Broker) -> None:
    _, second, third = deliver(broker, 0, 1, 2)

    broker.seekable_broker.seek_to_time(TOPIC, published_at(second))

    again = broker.stage.wait_for(5)[3:]
    assert {e["message"]["messageId"] for e in again} == {e["message"]["messageId"] for e in (second, third)}
    assert {published_at(e) for e in again} == {published_at(e) for e in (second, third)}
    assert numbers(deliver(broker, 9)) == [9], "and nothing else"


def test_seeking_back_again_delivers_again(broker: Broker) -> None:
    (first,) = deliver(broker, 0)

    for count in (2, 3, 4):
        broker.seekable_broker.seek_to_time(TOPIC, published_at(first))
        assert numbers(broker.stage.wait_for(count)) == [0] * count


def test_what_was_published_before_the_time_counts_as_acknowledged(broker: Broker) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def answer(envelope: Envelope) -> bool:
        if numbers([envelope]) == [0]:
            arrived.set()
            assert go_on.wait(60)
            return False
        return bool(envelope["deliveryAttempt"] >= 3)

    broker.stage.answer = answer
    broker.publisher.publish([message(0)])
    assert arrived.wait(60)
    broker.seekable_broker.seek_to_time(TOPIC, datetime.now(UTC) + MOMENT)
    go_on.set()
    broker.stage.wait_for(1)
    broker.publisher.publish([message(1)])

    # The second one's retries take longer than the first one's next would.
    assert numbers(broker.stage.wait_for(4)) == [0, 1, 1, 1]


def test_a_message_that_waits_for_its_retry_begins_anew(broker: Broker) -> None:
    well = threading.Event()
    broker.stage.answer = lambda envelope: well.is_set()
    broker.publisher.publish([message()])
    first = broker.stage.wait_for(2)[0]
    well.set()

    broker.seekable_broker.seek_to_time(TOPIC, published_at(first))

    broker.stage.wait_until(lambda envelopes: [e["deliveryAttempt"] for e in envelopes].count(1) == 2)


def test_a_snapshot_brings_back_what_was_unacknowledged_and_all_that_came_since(broker: Broker) -> None:
    deliver(broker, 0)
    broker.seekable_broker.seek_to_time(TOPIC, datetime.now(UTC) + MOMENT)  # its acknowledgement may be under way
    go_on = threading.Event()
    broker.stage.answer = lambda envelope: go_on.wait(60)
    broker.publisher.publish([message(1)])
    broker.seekable_broker.create_snapshot(TOPIC, "before")
    go_on.set()
    broker.stage.wait_for(2)
    deliver(broker, 2)

    for count in (5, 7):
        broker.seekable_broker.seek_to_snapshot(TOPIC, "before")
        assert numbers(broker.stage.wait_for(count)[-2:]) == [1, 2]
    assert numbers(deliver(broker, 9)) == [9], "and nothing else"


def test_one_topics_seek_leaves_another_alone(broker: Broker) -> None:
    (first,) = deliver(broker, 0)

    broker.seekable_broker.seek_to_time(OTHER, published_at(first))
    broker.seekable_broker.create_snapshot(OTHER, "before")
    with pytest.raises(UnknownSnapshot):
        broker.seekable_broker.seek_to_snapshot(TOPIC, "before")

    assert numbers(deliver(broker, 9)) == [9]


def test_snapshots_are_listed_by_topic_and_name_until_they_are_deleted(broker: Broker) -> None:
    for topic, name in ((TOPIC, "b-2"), (TOPIC, "a"), (OTHER, "a")):
        broker.seekable_broker.create_snapshot(topic, name)

    listed = broker.seekable_broker.snapshots()
    assert [(s.topic, s.name) for s in listed] == [(OTHER, "a"), (TOPIC, "a"), (TOPIC, "b-2")]
    for snapshot in listed:
        assert snapshot.expires_at is not None
        assert timedelta(days=6) < snapshot.expires_at - datetime.now(UTC) <= timedelta(days=7)

    broker.seekable_broker.delete_snapshot(TOPIC, "a")
    assert [(s.topic, s.name) for s in broker.seekable_broker.snapshots()] == [(OTHER, "a"), (TOPIC, "b-2")]


def test_a_snapshots_name_is_taken_until_it_is_deleted(broker: Broker) -> None:
    broker.seekable_broker.create_snapshot(TOPIC, "before")
    with pytest.raises(SnapshotExists):
        broker.seekable_broker.create_snapshot(TOPIC, "before")

    broker.seekable_broker.delete_snapshot(TOPIC, "before")
    for use in (broker.seekable_broker.delete_snapshot, broker.seekable_broker.seek_to_snapshot):
        with pytest.raises(UnknownSnapshot):
            use(TOPIC, "before")
    broker.seekable_broker.create_snapshot(TOPIC, "before")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a_b", "é", "-a", "1a", "google", "a\n", "a" * 61])
def test_a_name_that_pubsub_would_not_take_is_rejected(broker: Broker, name: str) -> None:
    for use in (
        broker.seekable_broker.create_snapshot,
        broker.seekable_broker.seek_to_snapshot,
        broker.seekable_broker.delete_snapshot,
    ):
        with pytest.raises(Rejected, match="snapshot's name"):
            use(TOPIC, name)


def test_the_longest_name_is_taken(broker: Broker) -> None:
    broker.seekable_broker.create_snapshot(TOPIC, "Z" * 60)

    assert [s.name for s in broker.seekable_broker.snapshots()] == ["Z" * 60]


def test_a_topic_that_is_not_there_is_rejected(broker: Broker) -> None:
    with pytest.raises(Rejected, match="no topic"):
        broker.seekable_broker.seek_to_time("chapters", datetime.now(UTC))
    with pytest.raises(Rejected, match="no topic"):
        broker.seekable_broker.create_snapshot("chapters", "before")


def test_a_broker_that_is_down_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    seekable_broker = PubSubSeekableBroker("test", timeout_seconds=0.3)

    for use in (seekable_broker.create_snapshot, seekable_broker.seek_to_snapshot, seekable_broker.delete_snapshot):
        with pytest.raises(Unavailable):
            use(TOPIC, "before")
    with pytest.raises(Unavailable):
        seekable_broker.seek_to_time(TOPIC, datetime.now(UTC))
    with pytest.raises(Unavailable):
        seekable_broker.snapshots()


def test_topics_that_were_never_made_are_unavailable(emulator: None) -> None:
    seekable_broker = PubSubSeekableBroker("without-topics")

    with pytest.raises(Unavailable):
        seekable_broker.seek_to_time(TOPIC, datetime.now(UTC))
    with pytest.raises(Unavailable):
        seekable_broker.create_snapshot(TOPIC, "before")
    with pytest.raises(UnknownSnapshot):
        seekable_broker.seek_to_snapshot(TOPIC, "before")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aged(clock: Clock) -> Iterator[Broker]:
    """A broker in memory whose days pass as the test says; it delivers one after the other."""
    stage, memory = RecordingEndpoint(), MemoryBroker(now=clock)
    memory.subscribe(
        Subscription(
            name=STAGE.subscription,
            topic=TOPIC,
            endpoint=stage,
            concurrency=1,
            min_backoff=0.0,
            max_backoff=600.0,
            max_deliveries=2,
        )
    )
    yield Broker(memory, memory, stage, RecordingEndpoint())
    memory.close()


def test_memory_reaches_back_a_week(aged: Broker, clock: Clock) -> None:
    start = clock.now
    deliver(aged, 0)
    clock.advance(4 * 86_400)
    deliver(aged, 1)
    clock.advance(4 * 86_400)

    aged.seekable_broker.seek_to_time(TOPIC, start)

    assert numbers(deliver(aged, 9)) == [1, 9]


def test_memory_holds_the_newest_messages_only(aged: Broker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "RETAINED_MESSAGES", 3)
    deliver(aged, 0)
    aged.seekable_broker.seek_to_time(TOPIC, clock.now + MOMENT)  # from here on, it is three
    deliver(aged, 1, 2, 3, 4)

    aged.seekable_broker.seek_to_time(TOPIC, clock.now)

    assert numbers(deliver(aged, 9)) == [2, 3, 4, 9]


def test_a_snapshot_in_memory_lives_for_a_week_less_the_age_of_what_it_holds(aged: Broker, clock: Clock) -> None:
    go_on = threading.Event()
    aged.stage.answer = lambda envelope: go_on.wait(60)
    aged.publisher.publish([message()])
    clock.advance(3 * 86_400)
    aged.seekable_broker.create_snapshot(TOPIC, "before")
    go_on.set()
    aged.stage.wait_for(1)

    (snapshot,) = aged.seekable_broker.snapshots()
    assert snapshot.expires_at == clock.now + timedelta(days=4)
    clock.advance(4 * 86_400)
    assert aged.seekable_broker.snapshots() == []
    with pytest.raises(UnknownSnapshot):
        aged.seekable_broker.seek_to_snapshot(TOPIC, "before")


def test_a_seek_can_go_back_beyond_the_last_one(aged: Broker, clock: Clock) -> None:
    # As Pub/Sub documents it. Its emulator forgets what was not acknowledged.
    arrived, go_on = threading.Event(), threading.Event()

    def answer(envelope: object) -> bool:
        arrived.set()
        return go_on.wait(60)

    aged.stage.answer = answer
    aged.publisher.publish([message(0), message(1)])
    assert arrived.wait(60)
    aged.seekable_broker.seek_to_time(TOPIC, clock.now + MOMENT)
    go_on.set()
    assert numbers(deliver(aged, 9)) == [0, 9], "the one that was under way, and the new one"

    aged.seekable_broker.seek_to_time(TOPIC, clock.now)

    assert numbers(aged.stage.wait_for(5)[2:]) == [0, 1, 9]


def test_what_went_to_the_dead_letters_is_remembered_too() -> None:
    with memory_broker() as broker:
        broker.stage.answer = lambda envelope: False
        broker.publisher.publish([message()])
        broker.dead_letters.wait_for(1)
        first = broker.stage.envelopes[0]
        broker.stage.answer = lambda envelope: True

        broker.seekable_broker.seek_to_time(TOPIC, published_at(first))

        assert [e["deliveryAttempt"] for e in broker.stage.wait_for(6)] == [1, 2, 3, 4, 5, 1]
