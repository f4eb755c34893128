"""The one place where overrides are put together, each made at first use: the server forks after import."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from shared.adapters.postgres.database import Database
from shared.config import Config
from shared.domain.stages import JobType
from shared.ports import (
    Authenticator,
    ContextExtractor,
    Embedder,
    LiveDocuments,
    Publisher,
    PushVerifier,
    SeekableBroker,
)

if TYPE_CHECKING:
    from shared.http.operations import Operations
    from shared.http.push import PushEndpoints
    from shared.pipeline.heartbeat import Heartbeat
    from shared.pipeline.outbox import Outbox
    from shared.pipeline.projector import Projector
    from shared.use_cases.control_book import ControlBook
    from shared.use_cases.reconcile import Reconcile
    from shared.use_cases.redrive import RedriveDeadLetters
    from shared.use_cases.replay import Replay


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class App:
    """The composition root. `overrides` replaces ports by name, for the local stack and tests."""

    config: Config
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def clock(self) -> Any:
        return self.overrides.get("clock", _now)

    @cached_property
    def new_id(self) -> Callable[[], UUID]:
        return self.overrides.get("new_id", uuid4)  # type: ignore[no-any-return]

    @cached_property
    def database(self) -> Database:
        c = self.config
        if not c.cloud_sql_instance:
            return Database(c.database_url, c.pool_size)
        from shared.adapters.postgres.cloud_sql import cloud_sql_connection

        return Database(
            "", c.pool_size, lambda: cloud_sql_connection(c.cloud_sql_instance, c.database_user, c.database_name)
        )

    @cached_property
    def publisher(self) -> Publisher:
        if "publisher" in self.overrides:
            return self.overrides["publisher"]  # type: ignore[no-any-return]
        from shared.adapters.google.pubsub_publisher import PubSubPublisher

        return PubSubPublisher(self.config.project)

    @cached_property
    def seekable_broker(self) -> SeekableBroker:
        if "seekable_broker" in self.overrides:
            return self.overrides["seekable_broker"]  # type: ignore[no-any-return]
        from shared.adapters.google.pubsub_seek import PubSubSeekableBroker

        return PubSubSeekableBroker(self.config.project)

    @cached_property
    def live_documents(self) -> LiveDocuments:
        if "live_documents" in self.overrides:
            return self.overrides["live_documents"]  # type: ignore[no-any-return]
        from shared.adapters.google.firestore import FirestoreLiveDocuments

        return FirestoreLiveDocuments(self.config.project, self.config.firestore_database)

    @cached_property
    def embedder(self) -> Embedder:
        if "embedder" in self.overrides:
            return self.overrides["embedder"]  # type: ignore[no-any-return]
        c = self.config
        if c.models == "vertex":
            from shared.adapters.google.vertex_embedder import VertexEmbedder

            return VertexEmbedder(c.project, c.location, c.embedding_model)
        if c.models == "fake":
            from shared.adapters.fake_models import FakeEmbedder

            return FakeEmbedder()
        from shared.adapters.local_models.embedder import LocalEmbedder

        return LocalEmbedder()

    @cached_property
    def extractor(self) -> ContextExtractor:
        if "extractor" in self.overrides:
            return self.overrides["extractor"]  # type: ignore[no-any-return]
        c = self.config
        if c.models == "vertex":
            from shared.adapters.google.vertex_context import VertexContextExtractor

            return VertexContextExtractor(c.project, c.location, c.context_model)
        if c.models == "fake":
            from shared.adapters.fake_models import FakeContextExtractor

            return FakeContextExtractor()
        from shared.adapters.local_models.context import LocalContextExtractor

        return LocalContextExtractor()

    @cached_property
    def authenticator(self) -> Authenticator:
        if "authenticator" in self.overrides:
            return self.overrides["authenticator"]  # type: ignore[no-any-return]
        if self.config.auth == "local":
            from shared.adapters.local_auth import LocalAuthenticator

            return LocalAuthenticator(self.config.local_user)
        from shared.adapters.google.firebase_auth import FirebaseAuthenticator

        return FirebaseAuthenticator(self.config.project)

    @cached_property
    def push_verifier(self) -> PushVerifier:
        if self.config.auth == "local":
            from shared.adapters.local_auth import LocalPushVerifier

            return LocalPushVerifier()
        from shared.adapters.google.push_auth import OidcPushVerifier

        return OidcPushVerifier(self.config.push_audience, self.config.push_service_account)

    @cached_property
    def store(self) -> Any:
        from shared.adapters.postgres.job_store import PostgresJobStore

        return PostgresJobStore(self.database, self.config.failed_chapters_tolerated)

    @cached_property
    def projections(self) -> Any:
        from shared.adapters.postgres.projections import PostgresProjections

        return PostgresProjections(self.database, self.clock)

    @cached_property
    def outbox(self) -> Outbox:
        from shared.pipeline.outbox import Outbox

        return Outbox(store=self.store, publisher=self.publisher, clock=self.clock)

    @cached_property
    def projector(self) -> Projector:
        from shared.pipeline.projector import Projector

        return Projector(projections=self.projections, live_documents=self.live_documents, clock=self.clock)

    @cached_property
    def redrive(self) -> RedriveDeadLetters:
        from shared.adapters.postgres.redrives import PostgresDeadLetters
        from shared.use_cases.redrive import RedriveDeadLetters

        return RedriveDeadLetters(
            letters=PostgresDeadLetters(
                self.database, self.config.failed_chapters_tolerated, self.config.max_books_under_way
            ),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def control(self) -> ControlBook:
        from shared.adapters.postgres.control import PostgresControl
        from shared.use_cases.control_book import ControlBook

        return ControlBook(
            control=PostgresControl(
                self.database, self.config.failed_chapters_tolerated, self.config.max_books_under_way
            ),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
        )

    @cached_property
    def replay(self) -> Replay:
        from shared.adapters.postgres.replays import PostgresReplays
        from shared.use_cases.replay import Replay

        return Replay(
            replays=PostgresReplays(self.database),
            seekable_broker=self.seekable_broker,
            outbox=self.outbox,
            clock=self.clock,
            new_id=self.new_id,
        )

    @cached_property
    def reconcile(self) -> Reconcile:
        from shared.adapters.postgres.retention import PostgresRetention
        from shared.use_cases.reconcile import Reconcile

        return Reconcile(
            store=self.store,
            outbox=self.outbox,
            projector=self.projector,
            redrive=self.redrive,
            retention=PostgresRetention(self.database),
            clock=self.clock,
        )

    @cached_property
    def heartbeat(self) -> Heartbeat:
        from shared.pipeline.heartbeat import Heartbeat

        return Heartbeat(store=self.store, clock=self.clock)

    @cached_property
    def limiter(self) -> Any:
        from shared.adapters.postgres.concurrency_limiter import PostgresConcurrencyLimiter

        return PostgresConcurrencyLimiter(self.database)

    @cached_property
    def push(self) -> PushEndpoints:
        from shared.http.push import PushEndpoints
        from shared.pipeline.record_dead_letter import RecordDeadLetter
        from shared.pipeline.runner import Runner

        ports = {"store": self.store, "outbox": self.outbox, "projector": self.projector, "clock": self.clock}
        return PushEndpoints(
            verifier=self.push_verifier,
            runner=Runner(
                **ports,
                limiter=self.limiter,
                heartbeat=self.heartbeat,
                stages=self._stages(),
                random=self.overrides.get("random", random.random),
            ),
            dead_letters=RecordDeadLetter(**ports),
            store=self.store,
            clock=self.clock,
        )

    def _stages(self) -> Any:
        from shared.adapters.postgres.caches import PostgresAnswerCache, PostgresVectorCache
        from shared.adapters.postgres.library import PostgresLibrary
        from shared.pipeline.model_answer_memo import ModelAnswerMemo
        from shared.pipeline.stages.complete_book import complete_book
        from shared.pipeline.stages.embed_chapters import EmbedChapters
        from shared.pipeline.stages.extract_context import ExtractContext
        from shared.pipeline.stages.process_book import ProcessBook
        from shared.pipeline.stages.process_chapter import ProcessChapter

        library, cache = PostgresLibrary(self.database), PostgresVectorCache(self.database)
        embedder, extractor = self.embedder, self.extractor
        ask = ModelAnswerMemo(library=library, cache=PostgresAnswerCache(self.database), clock=self.clock)
        return {
            JobType.BOOK_PROCESSING: ProcessBook(library=library, embedder=embedder, extractor=extractor),
            JobType.CONTEXT_EXTRACTION: ExtractContext(library=library, extractor=extractor, ask=ask),
            JobType.CHAPTER_PROCESSING: ProcessChapter(library=library, extractor=extractor, ask=ask),
            JobType.EMBEDDING_GENERATION: EmbedChapters(
                library=library, cache=cache, embedder=embedder, clock=self.clock
            ),
            JobType.BOOK_COMPLETION: complete_book,
        }

    @cached_property
    def api(self) -> Any:
        from shared.adapters.postgres.catalogue import PostgresCatalogue
        from shared.adapters.postgres.identifiers import PostgresIdentifiers
        from shared.adapters.postgres.imports import PostgresImports
        from shared.http.api import ApiParts, create_api
        from shared.use_cases.import_book import ImportBook
        from shared.use_cases.search import Search

        catalogue = PostgresCatalogue(self.database)
        import_book = ImportBook(
            imports=PostgresImports(self.database, self.config.max_books_under_way),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
        )
        search = Search(index=catalogue, embedder=self.embedder, text_weight=self.config.search_text_weight)
        return create_api(
            ApiParts(
                authenticator=self.authenticator,
                catalogue=catalogue,
                import_book=import_book,
                search=search,
                operations=self._operations(catalogue),
                identifiers=PostgresIdentifiers(self.database),
                max_body_bytes=self.config.max_body_bytes,
                local_only=self.config.auth == "local",
            )
        )

    def _operations(self, catalogue: Any) -> Operations:
        from shared.http.operations import Operations
        from shared.use_cases.project_again import ProjectAgain
        from shared.use_cases.snapshots import Snapshots

        again = ProjectAgain(projections=self.projections, projector=self.projector, clock=self.clock)
        return Operations(
            catalogue=catalogue,
            control=self.control,
            redrive=self.redrive,
            replay=self.replay,
            snapshots=Snapshots(seekable_broker=self.seekable_broker),
            project_again=again,
        )

    def close(self) -> None:
        if "limiter" in self.__dict__:
            self.limiter.close()
        if "database" in self.__dict__:
            self.database.close()
