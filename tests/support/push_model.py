"""Pub/Sub's push as it is documented, in virtual time: a window that grows with acknowledgements, and backs off.

https://cloud.google.com/pubsub/docs/push#quotas_and_limits, /push#push_backoff and /handling-failures: the window of
outstanding requests starts small, grows with each acknowledgement and shrinks with each refusal; refusals stop a
subscription for 100 ms to 60 s; a refused message comes again after 10 to 600 s.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shared.adapters.fake_models import FakeEmbedder
from shared.domain.embeddings import EmbeddingModel
from shared.domain.stages import STAGES, JobType
from shared.ports import Message
from tests.support.world import World, manuscript

FIRST_WINDOW, LARGEST_WINDOW = 3, 1_000
SHORTEST_STOP, LONGEST_STOP = 0.1, 60.0
FIRST_BACKOFF, LONGEST_BACKOFF = 10.0, 600.0
RECONCILE_SECONDS = 60.0


@dataclass(kw_only=True)
class PushSubscription:
    """How much may be under way, and from when on."""

    window: float = FIRST_WINDOW
    outstanding: int = 0
    stopped_until: float = 0.0
    stop: float = 0.0
    waiting: list[tuple[float, int, int, Message]] = field(default_factory=list)

    def may_push(self, now: float) -> bool:
        due = bool(self.waiting) and self.waiting[0][0] <= now
        return due and self.outstanding < int(self.window) and now >= self.stopped_until

    def acknowledged(self) -> None:
        self.outstanding -= 1
        self.window = min(LARGEST_WINDOW, self.window + 1)
        self.stop = self.stop / 2 if self.stop > SHORTEST_STOP else 0.0

    def refused(self, now: float) -> None:
        self.outstanding -= 1
        self.window = max(1, self.window / 2)
        self.stop = min(LONGEST_STOP, max(SHORTEST_STOP, 2 * self.stop))
        self.stopped_until = now + self.stop

    def next_moment(self, now: float) -> float | None:
        """When something may be pushed that can't be now."""
        if not self.waiting or self.outstanding >= int(self.window):
            return None
        return max(self.waiting[0][0], self.stopped_until, now)


def backoff(deliveries: int) -> float:
    return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(deliveries - 1, 10)))


class OneChapterAtOnce(FakeEmbedder):
    """Takes so little that each chapter is a group."""

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_request_tokens=150)


def import_books(world: World, count: int, user: str, chapters: int) -> list[str]:
    """Import books that have no chapter in common, and return their ids."""
    texts = (manuscript(chapters, 60, name=f"{user} {n} ") for n in range(count))
    return [world.import_book(text, title=f"{user} {n}", user=user) for n, text in enumerate(texts)]


def are_completed(world: World, books: list[str]) -> bool:
    """Whether readers see all these books."""
    rows = world.rows("SELECT 1 FROM books WHERE current_version IS NOT NULL AND book_id = ANY(%s::uuid[])", books)
    return len(rows) == len(books)


class Push:
    """Delivers a world's messages. Models take `seconds` of virtual time; all else takes none.

    Each delivery is a thread, which stands still while its model works; time goes on when all stand still.
    """

    def __init__(self, world: World, seconds: float = 2.0) -> None:
        self._world, self._seconds = world, seconds
        self._subscriptions = {topic: PushSubscription() for topic in STAGES}
        self._began = world.clock()
        self._order = itertools.count()
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._changed = threading.Condition()
        self._awake = 0
        self._closed = False
        self.deliveries: Counter[str] = Counter()
        world.embedder.before = lambda texts: self._sleep()
        world.extractor.before = lambda text: self._sleep()

    @property
    def now(self) -> float:
        return (self._world.clock() - self._began).total_seconds()

    def run(self, is_done: Callable[[], bool]) -> float:
        """Go on until it is done; return the seconds of virtual time that it took."""
        next_reconcile = self.now + RECONCILE_SECONDS
        while not is_done():
            if self._push_all():
                continue
            moment = min([next_reconcile, *self._moments()])
            self._world.clock.advance(max(0.0, moment - self.now))
            if moment >= next_reconcile:
                self._world.app.reconcile()
                next_reconcile += RECONCILE_SECONDS
            self._wake(self.now)
        return self.now

    def _moments(self) -> list[float]:
        found = [s.next_moment(self.now) for s in self._subscriptions.values()]
        return [m for m in found if m is not None] + [at for at, _, _ in self._asleep[:1]]

    def _push_all(self) -> bool:
        """Push what may be pushed now; whether there was anything."""
        while self._world.broker.waiting:
            message = self._world.broker.waiting.pop(0)
            self._queue(message, self.now, 1)
        pushed = False
        for topic, subscription in self._subscriptions.items():
            while subscription.may_push(self.now):
                _, _, number, message = heapq.heappop(subscription.waiting)
                subscription.outstanding += 1
                self.deliveries[topic] += 1
                self._start(lambda t=topic, m=message, n=number: self._deliver(t, m, n))  # type: ignore[misc]
                pushed = True
        return pushed

    def _queue(self, message: Message, at: float, number: int) -> None:
        heapq.heappush(self._subscriptions[JobType(message.topic)].waiting, (at, next(self._order), number, message))

    def _deliver(self, topic: JobType, message: Message, number: int) -> None:
        subscription = self._subscriptions[topic]
        if self._world.deliver(message, number) < 300:
            subscription.acknowledged()
        else:
            subscription.refused(self.now)
            self._queue(message, self.now + backoff(number), number + 1)

    def _start(self, body: Callable[[], None]) -> None:
        def run() -> None:
            try:
                body()
            finally:
                self._stand_still()

        self._awake += 1
        threading.Thread(target=run, daemon=True).start()
        self._settle()

    def _sleep(self) -> None:
        woken = threading.Event()
        heapq.heappush(self._asleep, (self.now + self._seconds, next(self._order), woken))
        self._stand_still()
        woken.wait()
        if self._closed:
            raise RuntimeError("the model is not wanted any more")

    def close(self) -> None:
        """End what is under way: no thread is left."""
        self._closed = True
        self._wake(float("inf"))

    def _wake(self, until: float) -> None:
        while self._asleep and self._asleep[0][0] <= until:
            with self._changed:
                self._awake += 1
            heapq.heappop(self._asleep)[2].set()
            self._settle()

    def _stand_still(self) -> None:
        with self._changed:
            self._awake -= 1
            self._changed.notify()

    def _settle(self) -> None:
        """One thread at a time: until it stands still."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._awake == 0, timeout=60)
