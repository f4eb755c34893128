"""The parts of a simulated world. `assembly.py` puts them together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Request
from werkzeug.test import EnvironBuilder

from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.bootstrap import App
from shared.domain.contexts import BookContext, ChapterMetadata
from shared.domain.embeddings import EmbeddingModel
from shared.domain.errors import Blocked, Rejected
from shared.domain.stages import JobType, Stage
from shared.pipeline.heartbeat import Heartbeat
from shared.pipeline.refresh import Refresh
from shared.ports import Document, Tombstone
from tests.simulation.boundary import Boundary, SimulatedDatabase
from tests.simulation.broker import Sent, SimulatedBroker
from tests.simulation.ledger import Ledger, PaidEmbedder, PaidExtractor
from tests.simulation.profile import Profile
from tests.simulation.tasks import Scheduler

TABLES = """books, book_versions, idempotency_keys, recent_chapters, chapter_chunks, book_vectors, book_contexts,
    jobs, processing_status, dead_letters, dead_letter_actions, answers, obsolete_documents, deliveries, replays,
    turns, dependencies, reembeddings, restores, searched_chapters, searched_passages, webhooks, webhook_deliveries"""


class SmallEmbedder(FakeEmbedder):
    """Takes so little at once that a small book makes several groups, and a group several requests."""

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_texts=2, max_request_tokens=2_300)


class RefusingExtractor(FakeContextExtractor):
    """Fails at the chapters that are `refused` to "read", and refuses to answer about what is to "block"."""

    def __init__(self, refused: tuple[str, ...], count: Callable[[str], None]) -> None:
        super().__init__(before=self._read)
        self._refused, self._count = refused, count

    def _read(self, text: str) -> None:
        if f"read {first_line(text)}" in self._refused:
            self._count("model rejects")
            raise Rejected("simulated: the model refuses this chapter")

    def quick(self, title: str, beginning: str) -> BookContext:
        self._block("quick")
        return super().quick(title, beginning)

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        self._block(first_line(text))
        return super().chapter(title, text)

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        self._block("full")
        return super().full(title, chapters)

    def _block(self, what: str) -> None:
        if f"block {what}" in self._refused:
            self._count("model blocks")
            raise Blocked("simulated: the model blocks this text")


def first_line(text: str) -> str:
    return text.partition("\n")[0]


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
    def hold(self, fencing_token: UUID, stage: Stage) -> Iterator[None]:
        yield


class NoRefresh(Refresh):
    """No thread of its own: what is held back is left to `reconcile`."""

    @contextmanager
    def holding(self, what: UUID) -> Iterator[None]:
        yield


class NoLeases:
    """The heartbeat that never beats asks for none."""

    def renew(self, fencing_tokens: Sequence[UUID]) -> None:
        raise AssertionError("a lease was renewed outside of the simulated time")


class Process:
    """One instance of the functions: what it holds in memory dies with it."""

    def __init__(self, name: str, start_app: Callable[[Process], App]) -> None:
        self.name = name
        self._start_app = start_app
        self.app = start_app(self)

    def deliver(self, sent: Sent) -> int:
        request = Request(EnvironBuilder(method="POST", json=sent.envelope()).get_environ())
        topic = JobType(sent.message.topic)
        if topic is JobType.DEAD_LETTER:
            return self.app.push.dead_letter(request).status_code
        return self.app.push.stage(request, topic).status_code

    def restart(self) -> None:
        """After a crash: another one starts in its place."""
        self.app = self._start_app(self)


@dataclass(eq=False, kw_only=True)
class World:
    """The parts of a simulated world, by name; `assembly.build_world` puts them together.

    `refused` is what a model rejects or blocks.
    """

    rng: random.Random
    profile: Profile
    refused: tuple[str, ...]
    database: SimulatedDatabase
    clock: SimulatedClock
    scheduler: Scheduler
    boundary: Boundary
    broker: SimulatedBroker
    live_documents: RecordingLiveDocuments
    ledger: Ledger
    embedder: PaidEmbedder
    extractor: PaidExtractor
    processes: list[Process] = field(default_factory=list)
    api: Process = field(init=False)


def clear(database: SimulatedDatabase) -> None:
    database.connection.execute(f"TRUNCATE {TABLES} CASCADE")
    for sequence in ("revisions", "job_ordinals"):
        database.connection.execute(f"ALTER SEQUENCE {sequence} RESTART")
    database.connection.commit()
