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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from shared.ports import Message

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

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._queues: dict[str, list[_Queue]] = {}
        self._ids = itertools.count(1)

    def subscribe(self, subscription: Subscription) -> None:
        queue = _Queue(subscription, self, self._monotonic)
        self._queues.setdefault(subscription.topic, []).append(queue)

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            data = base64.b64encode(json.dumps(message.data).encode()).decode()
            self._enqueue(message.topic, data, message.attributes)

    def _enqueue(self, topic: str, data: str, attributes: Mapping[str, str]) -> None:
        message_id = str(next(self._ids))
        for queue in self._queues.get(topic, ()):
            queue.put(data, attributes, message_id)

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
        self._changed = threading.Condition()
        self._busy = 0
        self._closed = False
        self._workers = ThreadPoolExecutor(subscription.concurrency, thread_name_prefix=subscription.name)
        self._dispatcher = threading.Thread(target=self._dispatch, name=subscription.name, daemon=True)
        self._dispatcher.start()

    def put(self, data: str, attributes: Mapping[str, str], message_id: str) -> None:
        delivery = _Delivery(self._monotonic(), next(self._order), message_id, data, attributes)
        self._push(delivery)

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
            self._busy -= 1
            self._changed.notify()

    def _redeliver(self, delivery: _Delivery) -> None:
        if delivery.attempt >= self._subscription.max_deliveries:
            self._broker.bury(self._subscription, delivery)
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
