"""A broker that delivers late, twice, out of order or never, as the scheduler says; and the ledger of its messages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from shared.domain.errors import Unavailable
from shared.domain.push_envelope import write_envelope
from shared.domain.stages import MAX_DELIVERIES, STAGES, JobType
from shared.ports import Message

_MAX_BACKOFF = 600.0


class Fate(StrEnum):
    WAITING = "waiting"
    DELIVERING = "being delivered"
    ACKNOWLEDGED = "acknowledged"
    DEAD = "dead-lettered"
    DROPPED = "dropped on purpose"


@dataclass(eq=False, kw_only=True)
class Sent:
    number: int
    message: Message
    due: datetime
    fate: Fate = Fate.WAITING
    deliveries: int = 0

    @property
    def job_id(self) -> str:
        return str(self.message.data["job_id"])

    @property
    def is_letter(self) -> bool:
        return self.message.topic == JobType.DEAD_LETTER

    def envelope(self) -> dict[str, Any]:
        return write_envelope(
            json.dumps(self.message.data).encode(),
            self.message.attributes,
            message_id=f"m{self.number}",
            subscription=STAGES[JobType(self.message.topic)].subscription,
            delivery_attempt=self.deliveries,
        )


class Faults(Protocol):
    """Whether there are faults now, and who is told of them."""

    faulty: bool
    note: Callable[[str], None]

    def count(self, fault: str) -> None: ...


class SimulatedBroker:
    """`all` is every message that was ever sent, with its fate. `partial` is the chance that a publish is cut short."""

    def __init__(
        self,
        rng: random.Random,
        boundary: Faults,
        clock: Callable[[], datetime],
        *,
        partial: float,
        longest_backoff: float = _MAX_BACKOFF,
    ) -> None:
        self._rng, self._boundary, self._clock = rng, boundary, clock
        self.all: list[Sent] = []
        self.waiting: list[Sent] = []
        self._partial, self._longest_backoff = partial, longest_backoff

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if self._boundary.faulty and self._rng.random() < self._partial:
                self._boundary.count("broker took only some")
                self._boundary.note("FAULT broker took only some")
                raise Unavailable("simulated: the broker took only some of it")
            self.send(message)

    def send(self, message: Message, delay: float = 0.0) -> Sent:
        sent = Sent(number=len(self.all) + 1, message=message, due=self._clock() + timedelta(seconds=delay))
        self.all.append(sent)
        self.waiting.append(sent)
        return sent

    def due(self) -> list[Sent]:
        now = self._clock()
        return [s for s in self.waiting if s.due <= now]

    def take(self, sent: Sent) -> None:
        self.waiting.remove(sent)
        sent.fate = Fate.DELIVERING
        sent.deliveries += 1

    def delay(self, sent: Sent, seconds: float) -> None:
        sent.due += timedelta(seconds=seconds)

    def drop(self, sent: Sent) -> None:
        self.waiting.remove(sent)
        sent.fate = Fate.DROPPED

    def acknowledge(self, sent: Sent) -> None:
        sent.fate = Fate.ACKNOWLEDGED

    def refuse(self, sent: Sent) -> None:
        """As Pub/Sub: again after a backoff, until it was delivered too often."""
        if sent.deliveries >= MAX_DELIVERIES:
            self.give_up(sent)
            return
        first = STAGES[JobType(sent.message.topic)].first_backoff_seconds
        wait = min(self._longest_backoff, first * 2 ** min(sent.deliveries - 1, 10))
        sent.due = self._clock() + timedelta(seconds=wait)
        sent.fate = Fate.WAITING
        self.waiting.append(sent)

    def give_up(self, sent: Sent) -> None:
        """Sends it on to the dead-letter topic, marked as Pub/Sub marks it."""
        if sent in self.waiting:
            self.waiting.remove(sent)
        sent.fate = Fate.DEAD
        marks = {
            "CloudPubSubDeadLetterSourceDeliveryCount": str(sent.deliveries),
            "CloudPubSubDeadLetterSourceSubscription": STAGES[JobType(sent.message.topic)].subscription,
        }
        attributes = {**sent.message.attributes, **marks}
        self.send(Message(topic=JobType.DEAD_LETTER, data=sent.message.data, attributes=attributes))
