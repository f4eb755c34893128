"""The messages of one subscription of the in-process broker: those to deliver, and those to deliver again."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from shared.domain.push_envelope import write_envelope

log = structlog.get_logger()

PushEndpoint = Callable[[dict[str, Any]], bool]
"""Takes production's push envelope; True acknowledges. What it raises counts as False."""

RETENTION = timedelta(days=7)
RETAINED_MESSAGES = 10_000
"""How many acknowledged messages a subscription keeps for replays: the newest, and none older than RETENTION."""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """`min_backoff` seconds before the first redelivery, then twice as long each time, up to `max_backoff`."""

    name: str
    topic: str
    endpoint: PushEndpoint
    concurrency: int
    min_backoff: float
    max_backoff: float
    max_deliveries: int
    dead_letter_topic: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """`order` counts a subscription's messages."""

    order: int
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What was not acknowledged at a moment; `end` is the order of the first message that came later."""

    messages: tuple[Published, ...]
    end: int


@dataclass(order=True, slots=True)
class Delivery:
    """`run` is how often the subscription had been sought when this was queued."""

    due: float
    order: int
    message: Published = field(compare=False)
    run: int = field(compare=False)
    attempt: int = field(compare=False, default=1)


class Queue:
    """The messages of one subscription, and the thread that hands them out when they are due.

    `dead_letter` takes what reached its delivery limit.
    """

    def __init__(
        self,
        subscription: Subscription,
        dead_letter: Callable[[Subscription, Delivery], None],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._subscription = subscription
        self._dead_letter = dead_letter
        self._monotonic = monotonic
        self._now = now
        self._heap: list[Delivery] = []
        self._unacknowledged: dict[int, Published] = {}
        self._acknowledged: deque[Published] = deque(maxlen=RETAINED_MESSAGES)
        self._end = 0
        self._run = 0
        self._changed = threading.Condition()
        self._busy = 0
        self._closed = False
        self._workers = ThreadPoolExecutor(subscription.concurrency, thread_name_prefix=subscription.name)
        self._dispatcher = threading.Thread(target=self._dispatch, name=subscription.name, daemon=True)
        self._dispatcher.start()

    def put(self, data: bytes, attributes: Mapping[str, str], message_id: str) -> None:
        with self._changed:
            order, self._end = self._end, self._end + 1
            at = self._now()
            message = Published(order=order, message_id=message_id, data=data, attributes=attributes, at=at)
            self._unacknowledged[order] = message
            self._push(message)

    def _push(self, message: Published) -> None:
        heapq.heappush(self._heap, Delivery(self._monotonic(), message.order, message, self._run))
        self._changed.notify()

    def backlog(self) -> Backlog:
        with self._changed:
            return Backlog(messages=tuple(self._unacknowledged.values()), end=self._end)

    def seek_to_time(self, since: datetime) -> None:
        with self._changed:
            self._seek((), lambda message: message.at >= since)

    def seek_to(self, backlog: Backlog) -> None:
        orders = {m.order for m in backlog.messages}
        with self._changed:
            self._seek(backlog.messages, lambda message: message.order in orders or message.order >= backlog.end)

    def _seek(self, kept: Iterable[Published], again: Callable[[Published], bool]) -> None:
        """Make those that are due `again` the only unacknowledged ones. Results of deliveries under way are ignored."""
        oldest = self._now() - RETENTION
        known = {m.order: m for m in (*self._acknowledged, *kept) if m.at >= oldest} | self._unacknowledged
        messages = [known[order] for order in sorted(known)]
        self._run += 1
        self._heap.clear()
        self._acknowledged = deque((m for m in messages if not again(m)), RETAINED_MESSAGES)
        self._unacknowledged = {m.order: m for m in messages if again(m)}
        for message in self._unacknowledged.values():
            self._push(message)

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

    def _next(self) -> Delivery | None:
        """Wait for the next delivery that is due while a worker is free; None once closed."""
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

    def _deliver(self, delivery: Delivery) -> None:
        try:
            acknowledged = self._subscription.endpoint(self._envelope(delivery))
        except Exception:
            log.exception("broker.endpoint_raised", subscription=self._subscription.name)
            acknowledged = False
        exhausted = not acknowledged and delivery.attempt >= self._subscription.max_deliveries
        if exhausted and delivery.run == self._run:
            self._dead_letter(self._subscription, delivery)
        with self._changed:
            if delivery.run == self._run:
                self._settle(delivery, acknowledged or exhausted)
            self._busy -= 1
            self._changed.notify()

    def _settle(self, delivery: Delivery, done: bool) -> None:
        if done:
            self._acknowledged.append(self._unacknowledged.pop(delivery.order))
            while self._acknowledged and self._acknowledged[0].at < self._now() - RETENTION:
                self._acknowledged.popleft()
            return
        wait = min(self._subscription.max_backoff, self._subscription.min_backoff * 2 ** (delivery.attempt - 1))
        delivery.attempt += 1
        delivery.due = self._monotonic() + wait
        heapq.heappush(self._heap, delivery)

    def _envelope(self, delivery: Delivery) -> dict[str, Any]:
        message = delivery.message
        return write_envelope(
            message.data,
            message.attributes,
            message_id=message.message_id,
            subscription=self._subscription.name,
            delivery_attempt=delivery.attempt,
            published=message.at,
        )
