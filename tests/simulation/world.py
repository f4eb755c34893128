"""The parts of a simulated world, put together by the real composition root."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from flask import Request
from werkzeug.test import EnvironBuilder

from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.adapters.memory.broker import MemoryBroker
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.adapters.postgres.database import Database
from shared.bootstrap import App
from shared.config import Config
from shared.domain.embeddings import EmbeddingModel
from shared.domain.errors import Rejected
from shared.domain.stages import JobType, Stage
from shared.pipeline.heartbeat import Heartbeat
from shared.ports import ContextExtractor, Document, Embedder, LiveDocuments, Publisher, Tombstone
from tests.simulation.boundary import Boundary, Proxy, SimulatedDatabase
from tests.simulation.broker import Sent, SimulatedBroker
from tests.simulation.ledger import Ledger, PaidEmbedder, PaidExtractor
from tests.simulation.profile import Profile, draw_profile
from tests.simulation.tasks import Scheduler
from tests.support.world import FakeAuthenticator

TABLES = """books, book_versions, idempotency_keys, recent_chapters, chapter_chunks, embedding_cache, book_contexts,
    jobs, processing_status, dead_letters, dead_letter_actions, answers, obsolete_documents, deliveries, replays"""
# Half of the chapters may be rejected, so that partial success is seen too.
TOLERATED = 0.5


class SmallEmbedder(FakeEmbedder):
    """Takes so little at once that a small book makes several groups, and a group several requests."""

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_texts=2, max_request_tokens=1_300)


class SimulatedClock:
    """`moved` is told of every advance; `peak` is the latest that it ever showed."""

    def __init__(self) -> None:
        self.now = self.peak = datetime(2026, 1, 1, tzinfo=UTC)
        self.moved: Callable[[], None] = lambda: None

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.peak = max(self.peak, self.now)
        self.moved()


class RecordingLiveDocuments(MemoryLiveDocuments):
    """Remembers every document that it took, and what deleted one, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[Document | Tombstone] = []
        self.listen("", self.taken.append)

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        """A tombstone that deleted nothing is not remembered."""
        self.taken += [t for t in tombstones if (d := self.get(t.path)) and d.revision < t.revision]
        super().delete(tombstones)

    def lose_all(self) -> None:
        self.taken += [Tombstone(path=d.path, revision=d.revision + 1) for d in self.all()]
        self.clear()


class NoHeartbeat(Heartbeat):
    """No thread of its own: an attempt that the simulation makes slow loses its lease."""

    @contextmanager
    def hold(self, lease: UUID, stage: Stage) -> Iterator[None]:
        yield


class FakeLimiter:
    """PostgreSQL's advisory locks are its sessions'; all the simulated processes share one. This is their twin."""

    def __init__(self, permits: int) -> None:
        self.permits = permits
        self._held: Counter[str] = Counter()

    @contextmanager
    def acquire(self, stage: Stage) -> Iterator[bool]:
        is_free = self._held[stage.type] < min(self.permits, stage.concurrency)
        self._held[stage.type] += is_free
        try:
            yield is_free
        finally:
            self._held[stage.type] -= is_free


class Process:
    """One instance of the functions: what it holds in memory dies with it."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self._world = world
        self.app = self._start()

    def _start(self) -> App:
        """The real composition root, with what is simulated in place of the world."""
        world = self._world
        app = App(
            world.config,
            {
                "authenticator": FakeAuthenticator(),
                "clock": world.clock,
                "database": cast(Database, world.database),
                "defer": self._defer,
                "embedder": cast(Embedder, Proxy(world.embedder, Embedder, world.boundary)),
                "extractor": cast(ContextExtractor, Proxy(world.extractor, ContextExtractor, world.boundary)),
                "limiter": world.limiter,
                "live_documents": cast(LiveDocuments, Proxy(world.live_documents, LiveDocuments, world.boundary)),
                "new_id": world.new_id,
                "publisher": cast(Publisher, Proxy(world.broker, Publisher, world.boundary)),
                "random": world.rng.random,
                "seekable_broker": MemoryBroker(),
            },
        )
        app.overrides["heartbeat"] = NoHeartbeat(store=app.store, clock=world.clock)
        return app

    def _defer(self, seconds: float, callback: Callable[[], None]) -> None:
        due = self._world.clock() + timedelta(seconds=seconds)
        self._world.deferred.append((due, self, callback))

    def deliver(self, sent: Sent) -> int:
        request = Request(EnvironBuilder(method="POST", json=sent.envelope()).get_environ())
        topic = JobType(sent.message.topic)
        if topic is JobType.DEAD_LETTER:
            return self.app.push.dead_letter(request).status_code
        return self.app.push.stage(request, topic).status_code

    def crash(self) -> None:
        """Another one starts in its place."""
        self._world.deferred[:] = [d for d in self._world.deferred if d[1] is not self]
        self.app = self._start()


class World:
    """Everything that a seed decides about, in one place."""

    def __init__(self, database: SimulatedDatabase, seed: int | str, profile: Profile | None = None) -> None:
        self.rng = random.Random(seed)
        self.profile = profile or draw_profile(self.rng)
        self.database = database
        self.config = Config(
            project="test",
            database_url="host=127.0.0.1",
            auth="local",
            models="fake",
            failed_chapters_tolerated=TOLERATED,
        )
        self.clock, self.live_documents, self.ledger = SimulatedClock(), RecordingLiveDocuments(), Ledger()
        self.scheduler = Scheduler(self.rng)
        self.limiter = FakeLimiter(self.profile.permits)
        self.boundary = Boundary(self.rng, self.scheduler, self.profile)
        self.broker = SimulatedBroker(self.rng, self.boundary, self.clock)
        self.broker.partial = self.profile.broker / 4
        self.refused: tuple[str, ...] = draw_refused(self.rng) if self.profile.rejecting else ()
        self.embedder = PaidEmbedder(SmallEmbedder(self._refuse_texts), self.ledger, self._task)
        self.extractor = PaidExtractor(FakeContextExtractor(self._refuse_chapter), self.ledger, self._task)
        self.deferred: list[tuple[datetime, Process, Callable[[], None]]] = []
        self.processes = [Process(f"p{n}", self) for n in range(3)]
        self.api = Process("api", self)
        database.boundary = self.boundary

    def new_id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def _task(self) -> Any:
        return self.scheduler.current

    def _refuse_texts(self, texts: Sequence[str]) -> None:
        if any(f"embed {t.split(chr(10))[0]}" in self.refused for t in texts):
            self.boundary.count("model rejects")
            raise Rejected("simulated: the model refuses this text")

    def _refuse_chapter(self, text: str) -> None:
        if f"read {text.split(chr(10))[0]}" in self.refused:
            self.boundary.count("model rejects")
            raise Rejected("simulated: the model refuses this chapter")


def draw_refused(rng: random.Random) -> tuple[str, ...]:
    """Which chapter the models will never take: one of them, for its vectors or for its metadata."""
    return (f"{rng.choice(['embed', 'read'])} CHAPTER {rng.randrange(1, 5)}",)


def clear(database: SimulatedDatabase) -> None:
    database.connection.execute(f"TRUNCATE {TABLES} CASCADE")
    database.connection.execute("ALTER SEQUENCE revisions RESTART")
    database.connection.commit()
