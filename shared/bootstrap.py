"""The composition root: the one place where ports meet their adapters.

Each part is made at first use: the server forks after import, and a function makes only what it needs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, Self, TypedDict, TypeVar, cast, overload
from uuid import UUID, uuid4

from shared.adapters.postgres.database import Database
from shared.config import Config
from shared.pipeline.projector import Defer, defer_on_timer
from shared.ports import (
    Authenticator,
    Catalogue,
    Clock,
    ConcurrencyLimiter,
    ContextExtractor,
    DeadLetters,
    Embedder,
    Identifiers,
    JobStore,
    LiveDocuments,
    Projections,
    Publisher,
    PushVerifier,
    Redrives,
    Retention,
    SearchIndex,
    SeekableBroker,
)

if TYPE_CHECKING:
    from flask import Flask

    from shared.http.push import PushEndpoints
    from shared.http.reconcile import ReconcileEndpoint
    from shared.pipeline.heartbeat import Heartbeat
    from shared.pipeline.outbox import Outbox
    from shared.pipeline.projector import Projector
    from shared.use_cases.control_book import ControlBook
    from shared.use_cases.import_book import ImportBook
    from shared.use_cases.reconcile import Reconcile
    from shared.use_cases.redrive import RedriveDeadLetters
    from shared.use_cases.replay import Replay

T = TypeVar("T")


class Overrides(TypedDict, total=False):
    """What stands in for a part of that name: for the local stack and tests."""

    authenticator: Authenticator
    clock: Clock
    database: Database
    defer: Defer
    embedder: Embedder
    extractor: ContextExtractor
    heartbeat: Heartbeat
    limiter: ConcurrencyLimiter
    live_documents: LiveDocuments
    new_id: Callable[[], UUID]
    publisher: Publisher
    push_verifier: PushVerifier
    random: Callable[[], float]
    seekable_broker: SeekableBroker


class part(Generic[T]):
    """A part of the App: its override, or what the method makes, once however many threads ask at the same time.

    functools.cached_property has had no lock since Python 3.12: each thread would make one.
    """

    def __init__(self, make: Callable[[App], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, app: None, owner: type[App]) -> Self: ...

    @overload
    def __get__(self, app: App, owner: type[App]) -> T: ...

    def __get__(self, app: App | None, owner: type[App]) -> T | Self:
        if app is None:
            return self
        with app.lock:
            # From then on it is found in the instance, without this descriptor and its lock.
            if self._name not in app.__dict__:
                overrides: Mapping[str, object] = app.overrides
                known = self._name in overrides
                app.__dict__[self._name] = overrides[self._name] if known else self._make(app)
            return cast(T, app.__dict__[self._name])


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class App:
    """All parts of one process, by name. `lock` is held while one is made."""

    config: Config
    overrides: Overrides = field(default_factory=Overrides)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @part
    def clock(self) -> Clock:
        return _now

    @part
    def new_id(self) -> Callable[[], UUID]:
        return uuid4

    @part
    def random(self) -> Callable[[], float]:
        return random.random

    @part
    def defer(self) -> Defer:
        return defer_on_timer

    @part
    def database(self) -> Database:
        c = self.config
        if not c.cloud_sql_instance:
            return Database(c.database_url, c.pool_size)
        from shared.adapters.postgres.cloud_sql import cloud_sql_connection

        return Database(
            "", c.pool_size, lambda: cloud_sql_connection(c.cloud_sql_instance, c.database_user, c.database_name)
        )

    @part
    def publisher(self) -> Publisher:
        from shared.adapters.google.pubsub_publisher import PubSubPublisher

        return PubSubPublisher(self.config.project)

    @part
    def seekable_broker(self) -> SeekableBroker:
        from shared.adapters.google.pubsub_seek import PubSubSeekableBroker

        return PubSubSeekableBroker(self.config.project)

    @part
    def live_documents(self) -> LiveDocuments:
        from shared.adapters.google.firestore import FirestoreLiveDocuments

        return FirestoreLiveDocuments(self.config.project, self.config.firestore_database)

    @part
    def embedder(self) -> Embedder:
        c = self.config
        if c.models == "vertex":
            from shared.adapters.google.vertex_embedder import VertexEmbedder

            return VertexEmbedder(c.project, c.location, c.embedding_model)
        if c.models == "fake":
            from shared.adapters.fake_models import FakeEmbedder

            return FakeEmbedder()
        from shared.adapters.local_models.embedder import LocalEmbedder

        return LocalEmbedder()

    @part
    def extractor(self) -> ContextExtractor:
        c = self.config
        if c.models == "vertex":
            from shared.adapters.google.vertex_context import VertexContextExtractor

            return VertexContextExtractor(c.project, c.location, c.context_model)
        if c.models == "fake":
            from shared.adapters.fake_models import FakeContextExtractor

            return FakeContextExtractor()
        from shared.adapters.local_models.context import LocalContextExtractor

        return LocalContextExtractor()

    @part
    def authenticator(self) -> Authenticator:
        if self.config.auth == "local":
            from shared.adapters.local_auth import LocalAuthenticator

            return LocalAuthenticator(self.config.local_user)
        from shared.adapters.google.firebase_auth import FirebaseAuthenticator

        return FirebaseAuthenticator(self.config.project)

    @part
    def push_verifier(self) -> PushVerifier:
        if self.config.auth == "local":
            from shared.adapters.local_auth import LocalPushVerifier

            return LocalPushVerifier()
        from shared.adapters.google.push_auth import OidcPushVerifier

        return OidcPushVerifier(self.config.push_audience, self.config.push_service_account)

    @part
    def store(self) -> JobStore:
        from shared.adapters.postgres.job_store import PostgresJobStore

        return PostgresJobStore(self.database, self.config.failed_chapters_tolerated)

    @part
    def limiter(self) -> ConcurrencyLimiter:
        from shared.adapters.postgres.concurrency_limiter import PostgresConcurrencyLimiter

        return PostgresConcurrencyLimiter(self.database)

    @part
    def projections(self) -> Projections:
        from shared.adapters.postgres.projections import PostgresProjections

        return PostgresProjections(self.database, self.clock)

    @part
    def dead_letters(self) -> DeadLetters:
        from shared.adapters.postgres.dead_letter_list import PostgresDeadLetters

        return PostgresDeadLetters(self.database)

    @part
    def redrives(self) -> Redrives:
        from shared.adapters.postgres.redrive_queue import PostgresRedrives

        c = self.config
        return PostgresRedrives(self.database, c.failed_chapters_tolerated, c.max_books_under_way)

    @part
    def retention(self) -> Retention:
        from shared.adapters.postgres.retention import PostgresRetention

        return PostgresRetention(self.database)

    @part
    def catalogue(self) -> Catalogue:
        from shared.adapters.postgres.catalogue import PostgresCatalogue

        return PostgresCatalogue(self.database)

    @part
    def identifiers(self) -> Identifiers:
        from shared.adapters.postgres.identifiers import PostgresIdentifiers

        return PostgresIdentifiers(self.database)

    @part
    def search_index(self) -> SearchIndex:
        from shared.adapters.postgres.search_index import PostgresSearchIndex

        return PostgresSearchIndex(self.database)

    @part
    def outbox(self) -> Outbox:
        from shared.pipeline.outbox import Outbox

        return Outbox(store=self.store, publisher=self.publisher, clock=self.clock)

    @part
    def projector(self) -> Projector:
        from shared.pipeline.projector import Projector

        return Projector(
            projections=self.projections, live_documents=self.live_documents, clock=self.clock, defer=self.defer
        )

    @part
    def heartbeat(self) -> Heartbeat:
        from shared.pipeline.heartbeat import Heartbeat

        return Heartbeat(store=self.store, clock=self.clock)

    @part
    def import_book(self) -> ImportBook:
        from shared.adapters.postgres.imports import PostgresImports
        from shared.use_cases.import_book import ImportBook

        return ImportBook(
            imports=PostgresImports(self.database, self.config.max_books_under_way),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
        )

    @part
    def control(self) -> ControlBook:
        from shared.adapters.postgres.control import PostgresControl
        from shared.use_cases.control_book import ControlBook

        c = self.config
        return ControlBook(
            control=PostgresControl(self.database, c.failed_chapters_tolerated, c.max_books_under_way),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
        )

    @part
    def redrive(self) -> RedriveDeadLetters:
        from shared.use_cases.redrive import RedriveDeadLetters

        return RedriveDeadLetters(
            dead_letters=self.dead_letters,
            redrives=self.redrives,
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
        )

    @part
    def replay(self) -> Replay:
        from shared.adapters.postgres.replays import PostgresReplays
        from shared.use_cases.replay import Replay

        return Replay(
            replays=PostgresReplays(self.database),
            broker=self.seekable_broker,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
        )

    @part
    def reconcile(self) -> Reconcile:
        from shared.use_cases.reconcile import Reconcile

        return Reconcile(
            store=self.store,
            outbox=self.outbox,
            projector=self.projector,
            redrive=self.redrive,
            retention=self.retention,
            clock=self.clock,
        )

    @part
    def reconcile_endpoint(self) -> ReconcileEndpoint:
        from shared.http.reconcile import ReconcileEndpoint

        return ReconcileEndpoint(
            verifier=self.push_verifier, reconcile=self.reconcile, local_only=self.config.auth == "local"
        )

    @part
    def push(self) -> PushEndpoints:
        from shared.adapters.postgres.caches import PostgresAnswerCache, PostgresVectorCache
        from shared.adapters.postgres.library import PostgresLibrary
        from shared.http.push import PushEndpoints
        from shared.pipeline.record_dead_letter import RecordDeadLetter
        from shared.pipeline.runner import Runner
        from shared.pipeline.stages import stage_functions

        stages = stage_functions(
            library=PostgresLibrary(self.database),
            vectors=PostgresVectorCache(self.database),
            answers=PostgresAnswerCache(self.database),
            embedder=self.embedder,
            extractor=self.extractor,
            clock=self.clock,
        )
        runner = Runner(
            store=self.store,
            outbox=self.outbox,
            projector=self.projector,
            limiter=self.limiter,
            heartbeat=self.heartbeat,
            stages=stages,
            clock=self.clock,
            random=self.random,
        )
        return PushEndpoints(
            verifier=self.push_verifier,
            runner=runner,
            dead_letters=RecordDeadLetter(
                store=self.store, outbox=self.outbox, projector=self.projector, clock=self.clock
            ),
            store=self.store,
            clock=self.clock,
            local_only=self.config.auth == "local",
        )

    @part
    def api(self) -> Flask:
        from shared.http.api import ApiParts, create_api
        from shared.use_cases.project_again import ProjectAgain
        from shared.use_cases.search import Search
        from shared.use_cases.snapshots import Snapshots

        return create_api(
            ApiParts(
                authenticator=self.authenticator,
                catalogue=self.catalogue,
                import_book=self.import_book,
                search=Search(
                    index=self.search_index, embedder=self.embedder, text_weight=self.config.search_text_weight
                ),
                control=self.control,
                redrive=self.redrive,
                replay=self.replay,
                snapshots=Snapshots(broker=self.seekable_broker),
                identifiers=self.identifiers,
                project_again=ProjectAgain(projections=self.projections, projector=self.projector, clock=self.clock),
                max_body_bytes=self.config.max_body_bytes,
                local_only=self.config.auth == "local",
            )
        )

    def close(self) -> None:
        """Close what was opened. Safe to repeat."""
        for name in ("limiter", "database"):
            if name in self.__dict__:
                self.__dict__[name].close()
