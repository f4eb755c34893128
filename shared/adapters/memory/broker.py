"""An in-process broker with Pub/Sub's semantics: at least once, any order, retries, dead letters, replays.

It is what the embedded backend runs on, and the double in tests: one contract suite holds it and the real one.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from shared.adapters.memory.queue import RETENTION, Backlog, Delivery, Queue, Subscription, utc_now
from shared.domain.errors import Rejected, SnapshotExists, UnknownSnapshot
from shared.domain.snapshots import check_snapshot_name
from shared.ports import BrokerSnapshot, Message

__all__ = ["MemoryBroker", "Subscription"]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    backlogs: Mapping[Queue, Backlog]
    expires_at: datetime


class MemoryBroker:
    """A broker of one process, and its SeekableBroker. Nothing survives it: the truth is in PostgreSQL."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = utc_now) -> None:
        self._monotonic = monotonic
        self._now = now
        self._queues: dict[str, list[Queue]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._snapshots: dict[tuple[str, str], _Snapshot] = {}

    def subscribe(self, subscription: Subscription) -> None:
        queue = Queue(subscription, self._dead_letter, self._monotonic, self._now)
        self._queues.setdefault(subscription.topic, []).append(queue)

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._enqueue(message.topic, json.dumps(message.data).encode(), message.attributes)

    def _enqueue(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> None:
        message_id = str(next(self._ids))
        for queue in self._queues.get(topic, ()):
            queue.put(data, attributes, message_id)

    def _dead_letter(self, subscription: Subscription, delivery: Delivery) -> None:
        """Publish a message that reached its delivery limit to the dead-letter topic, marked as Pub/Sub marks it."""
        message = delivery.message
        if subscription.dead_letter_topic is None:
            log.error("broker.dropped", subscription=subscription.name, message_id=message.message_id)
            return
        marks = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(delivery.attempt),
            "CloudPubSubDeadLetterSourceSubscription": subscription.name,
        }
        self._enqueue(subscription.dead_letter_topic, message.data, {**message.attributes, **marks})

    def seek_to_time(self, topic: str, since: datetime) -> None:
        for queue in self._of(topic):
            queue.seek_to_time(since)

    def seek_to_snapshot(self, topic: str, name: str) -> None:
        key = self._key(topic, name)
        with self._lock:
            self._forget_expired()
            snapshot = self._snapshots.get(key)
        if snapshot is None:
            raise UnknownSnapshot(f"{topic} has no snapshot {name}")
        for queue, backlog in snapshot.backlogs.items():
            queue.seek_to(backlog)

    def create_snapshot(self, topic: str, name: str) -> None:
        key = self._key(topic, name)
        with self._lock:
            self._forget_expired()
            if key in self._snapshots:
                raise SnapshotExists(f"{topic} has a snapshot {name} already")
            backlogs = {queue: queue.backlog() for queue in self._of(topic)}
            # As in Pub/Sub: the older what it holds, the sooner it ends.
            oldest = min((m.at for b in backlogs.values() for m in b.messages), default=self._now())
            self._snapshots[key] = _Snapshot(backlogs=backlogs, expires_at=oldest + RETENTION)

    def snapshots(self) -> list[BrokerSnapshot]:
        with self._lock:
            self._forget_expired()
            return [
                BrokerSnapshot(topic=topic, name=name, expires_at=snapshot.expires_at)
                for (topic, name), snapshot in sorted(self._snapshots.items(), key=lambda item: item[0])
            ]

    def delete_snapshot(self, topic: str, name: str) -> None:
        key = self._key(topic, name)
        with self._lock:
            self._forget_expired()
            if self._snapshots.pop(key, None) is None:
                raise UnknownSnapshot(f"{topic} has no snapshot {name}")

    def _forget_expired(self) -> None:
        now = self._now()
        self._snapshots = {key: s for key, s in self._snapshots.items() if s.expires_at > now}

    def _key(self, topic: str, name: str) -> tuple[str, str]:
        self._of(topic)
        return topic, check_snapshot_name(name)

    def _of(self, topic: str) -> Sequence[Queue]:
        try:
            return self._queues[topic]
        except KeyError:
            raise Rejected(f"there is no topic {topic}") from None

    def idle(self) -> bool:
        """Whether nothing is waiting or being delivered."""
        return all(q.idle() for queues in self._queues.values() for q in queues)

    def close(self) -> None:
        """Stop delivering, and wait for the deliveries that are under way."""
        for queues in self._queues.values():
            for queue in queues:
                queue.close()
