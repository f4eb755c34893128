"""An in-process broker with Pub/Sub's semantics: at least once, any order, retries with backoff, dead letters.

It is what the embedded backend runs on, and the double in tests: one contract suite holds it and the real one.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from shared.domain.errors import SnapshotExists, UnknownSnapshot
from shared.ports import BrokerSnapshot, Clock, Message

log = structlog.get_logger()

PushEndpoint = Callable[[dict[str, Any]], bool]
"""Takes production's push envelope; True acknowledges. What it raises counts as False."""

MAX_BACKOFF_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """`min_backoff` seconds before the first redelivery, then twice as long each time."""

    name: str
    topic: str
    endpoint: PushEndpoint
    concurrency: int
    min_backoff: float
    max_deliveries: int
    dead_letter_topic: str | None = None


# What Pub/Sub keeps for a week, this keeps while there is room.
_RETAINED = 10_000
_SNAPSHOT_KEPT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class _Published:
    message_id: str
    data: str
    attributes: Mapping[str, str]
    at: datetime


@dataclass(order=True)
class _Delivery:
    due: float
    order: int
    message_id: str = field(compare=False)
    data: str = field(compare=False)
    attributes: Mapping[str, str] = field(compare=False)
    attempt: int = field(compare=False, default=1)


class MemoryBroker:
    """A broker of one process. Nothing survives it: the truth is in PostgreSQL."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, clock: Clock = lambda: datetime.now(UTC)
    ) -> None:
        self._monotonic = monotonic
        self._clock = clock
        self._queues: dict[str, list[_Queue]] = {}
        self._ids = itertools.count(1)
        self._snapshots: dict[tuple[str, str], tuple[datetime, list[frozenset[str]]]] = {}

    def subscribe(self, subscription: Subscription) -> None:
        queue = _Queue(subscription, self, self._monotonic)
        self._queues.setdefault(subscription.topic, []).append(queue)

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            data = base64.b64encode(json.dumps(message.data).encode()).decode()
            self._enqueue(message.topic, data, message.attributes)

    def _enqueue(self, topic: str, data: str, attributes: Mapping[str, str]) -> None:
        message = _Published(message_id=str(next(self._ids)), data=data, attributes=attributes, at=self._clock())
        for queue in self._queues.get(topic, ()):
            queue.put(message)

    def rewind_to_time(self, topic: str, since: datetime) -> None:
        for queue in self._queues.get(topic, ()):
            queue.rewind(lambda message: message.at >= since)

    def create_snapshot(self, topic: str, name: str) -> None:
        if (topic, name) in self._snapshots:
            raise SnapshotExists(name)
        settled = [queue.settled() for queue in self._queues.get(topic, ())]
        self._snapshots[topic, name] = (self._clock() + _SNAPSHOT_KEPT, settled)

    def rewind_to_snapshot(self, topic: str, name: str) -> None:
        if (topic, name) not in self._snapshots:
            raise UnknownSnapshot(name)
        _, settled = self._snapshots[topic, name]
        for queue, ids in zip(self._queues.get(topic, ()), settled, strict=True):
            queue.rewind(lambda message, ids=ids: message.message_id not in ids)  # type: ignore[misc]

    def snapshots(self) -> list[BrokerSnapshot]:
        kept = sorted(self._snapshots.items())
        return [BrokerSnapshot(topic=topic, name=name, expires_at=until) for (topic, name), (until, _) in kept]

    def delete_snapshot(self, topic: str, name: str) -> None:
        if self._snapshots.pop((topic, name), None) is None:
            raise UnknownSnapshot(name)

    def bury(self, subscription: Subscription, delivery: _Delivery) -> None:
        """Sends on what was delivered in vain, marked as Pub/Sub marks it."""
        if subscription.dead_letter_topic is None:
            log.error("broker.dropped", subscription=subscription.name, message_id=delivery.message_id)
            return
        marks = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempt),
            "CloudPubSubDeadLetterSourceSubscription": subscription.name,
        }
        self._enqueue(subscription.dead_letter_topic, delivery.data, {**delivery.attributes, **marks})

    def idle(self) -> bool:
        """Whether nothing is waiting or being delivered."""
        return all(q.idle() for queues in self._queues.values() for q in queues)

    def close(self) -> None:
        """Stops delivering, and waits for the deliveries that are under way."""
        for queues in self._queues.values():
            for queue in queues:
                queue.close()


class _Queue:
    """The messages of one subscription, and the thread that hands them out when they are due."""

    def __init__(self, subscription: Subscription, broker: MemoryBroker, monotonic: Callable[[], float]) -> None:
        self._subscription = subscription
        self._broker = broker
        self._monotonic = monotonic
        self._heap: list[_Delivery] = []
        self._order = itertools.count()
        self._retained: deque[_Published] = deque(maxlen=_RETAINED)
        self._unsettled: set[str] = set()
        self._changed = threading.Condition()
        self._busy = 0
        self._closed = False
        self._workers = ThreadPoolExecutor(subscription.concurrency, thread_name_prefix=subscription.name)
        self._dispatcher = threading.Thread(target=self._dispatch, name=subscription.name, daemon=True)
        self._dispatcher.start()

    def put(self, message: _Published) -> None:
        with self._changed:
            self._retained.append(message)
            self._unsettled.add(message.message_id)
        self._deliver_now(message)

    def _deliver_now(self, message: _Published) -> None:
        due, order = self._monotonic(), next(self._order)
        self._push(_Delivery(due, order, message.message_id, message.data, message.attributes))

    def settled(self) -> frozenset[str]:
        """Ids of the messages that were acknowledged."""
        with self._changed:
            return frozenset(m.message_id for m in self._retained if m.message_id not in self._unsettled)

    def rewind(self, wanted: Callable[[_Published], bool]) -> None:
        """Delivers the wanted ones of the retained messages again; the others count as acknowledged."""
        with self._changed:
            retained = list(self._retained)
            again = [m for m in retained if wanted(m) and m.message_id not in self._unsettled]
            dropped = {m.message_id for m in retained if not wanted(m)}
            self._heap = [d for d in self._heap if d.message_id not in dropped]
            heapq.heapify(self._heap)
            self._unsettled = (self._unsettled - dropped) | {m.message_id for m in again}
        for message in again:
            self._deliver_now(message)

    def _push(self, delivery: _Delivery) -> None:
        with self._changed:
            heapq.heappush(self._heap, delivery)
            self._changed.notify()

    def idle(self) -> bool:
        with self._changed:
            return not self._heap and not self._busy

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._dispatcher.join()
        self._workers.shutdown()

    def _dispatch(self) -> None:
        while (delivery := self._next()) is not None:
            self._workers.submit(self._deliver, delivery)

    def _next(self) -> _Delivery | None:
        """Waits for the next delivery that is due while a worker is free; None once closed."""
        with self._changed:
            while not self._closed:
                wait = None
                if self._heap and self._busy < self._subscription.concurrency:
                    wait = self._heap[0].due - self._monotonic()
                    if wait <= 0:
                        self._busy += 1
                        return heapq.heappop(self._heap)
                self._changed.wait(wait)
        return None

    def _deliver(self, delivery: _Delivery) -> None:
        try:
            acknowledged = self._subscription.endpoint(_envelope(self._subscription, delivery))
        except Exception:
            log.exception("broker.endpoint_raised", subscription=self._subscription.name)
            acknowledged = False
        if not acknowledged:
            self._redeliver(delivery)
        with self._changed:
            if acknowledged:
                self._unsettled.discard(delivery.message_id)
            self._busy -= 1
            self._changed.notify()

    def _redeliver(self, delivery: _Delivery) -> None:
        if delivery.attempt >= self._subscription.max_deliveries:
            self._broker.bury(self._subscription, delivery)
            with self._changed:
                self._unsettled.discard(delivery.message_id)
            return
        wait = min(MAX_BACKOFF_SECONDS, self._subscription.min_backoff * 2 ** (delivery.attempt - 1))
        delivery.attempt += 1
        delivery.due = self._monotonic() + wait
        self._push(delivery)


def _envelope(subscription: Subscription, delivery: _Delivery) -> dict[str, Any]:
    """Production's push request body: cloud.google.com/pubsub/docs/push."""
    return {
        "message": {
            "data": delivery.data,
            "attributes": dict(delivery.attributes),
            "messageId": delivery.message_id,
        },
        "subscription": subscription.name,
        "deliveryAttempt": delivery.attempt,
    }
