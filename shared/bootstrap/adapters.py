"""The ports, each with the adapter that the configuration asks for."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict
from uuid import UUID, uuid4

from shared.adapters.postgres.database import Database
from shared.bootstrap.embedders import Embedders, configured_embedder
from shared.bootstrap.parts import part
from shared.config import Config
from shared.domain.embeddings import ModelKey
from shared.ports import (
    NO_TELEMETRY,
    ApiKeys,
    AtOnce,
    Authenticator,
    Catalogue,
    Clock,
    ContextExtractor,
    DeadLetters,
    Embedder,
    Gauges,
    Identifiers,
    JobStore,
    Leases,
    LiveBooks,
    LiveDocuments,
    Projections,
    Publisher,
    PushVerifier,
    Readiness,
    Redrives,
    Retention,
    SearchIndex,
    SeekableBroker,
    Telemetry,
    Texts,
    TokenMeter,
    WebhookDeliveries,
    Webhooks,
    WebhookSender,
)
from shared.ports.telemetry import FLUSH_SECONDS

if TYPE_CHECKING:
    from shared.pipeline.heartbeat import Heartbeat
    from shared.pipeline.refresh import Refresh


class Overrides(TypedDict, total=False):
    """Replacements of parts, by name: for the local stack and tests."""

    at_once: AtOnce
    authenticator: Authenticator
    clock: Clock
    database: Database
    embedder: Embedder
    embedders: Callable[[ModelKey], Embedder | None]
    extractor: ContextExtractor
    heartbeat: Heartbeat
    live_books: LiveBooks
    live_documents: LiveDocuments
    new_id: Callable[[], UUID]
    publisher: Publisher
    push_verifier: PushVerifier
    random: Callable[[], float]
    refresh: Refresh
    seekable_broker: SeekableBroker
    webhook_sender: WebhookSender
    telemetry: Telemetry


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Adapters:
    """The ports of one process. `lock` is held while a part is made."""

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
    def telemetry(self) -> Telemetry:
        c, kept = self.config, NO_TELEMETRY
        if c.local_only:
            from shared.adapters.prometheus import PrometheusTelemetry

            kept = PrometheusTelemetry()
        if not c.otlp_endpoint:
            return kept
        from shared.adapters.opentelemetry.exporting import exporting_telemetry

        # On one machine nobody takes the CPU away after an answer: the background sends.
        seconds = 0.0 if c.local_only else FLUSH_SECONDS
        return exporting_telemetry(c.otlp_endpoint, c.logs.service, c.project, kept, seconds)

    @part
    def meter(self) -> TokenMeter:
        from shared.pipeline.measured_models import Usage

        return Usage(telemetry=self.telemetry, prices=self.config.model_prices)

    @part
    def gauges(self) -> Gauges:
        from shared.adapters.postgres.gauges import PostgresGauges

        return PostgresGauges(self.database, self.projections, self.telemetry)

    @part
    def at_once(self) -> AtOnce:
        from shared.pipeline.at_once import at_once

        return at_once

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
    def live_books(self) -> LiveBooks:
        from shared.adapters.google.firestore_listeners import FirestoreLiveBooks

        return FirestoreLiveBooks(self.config.project, self.config.firestore_database)

    @part
    def embedder(self) -> Embedder:
        return configured_embedder(self.config, self.meter)

    @part
    def embedders(self) -> Callable[[ModelKey], Embedder | None]:
        """Of each model that this deployment can ask: its own, and those that made the vectors of before."""
        return Embedders(self.config, self.embedder, self.meter)

    @part
    def extractor(self) -> ContextExtractor:
        c = self.config
        if c.models == "vertex":
            from shared.adapters.google.vertex_context import VertexContextExtractor

            return VertexContextExtractor(c.project, c.location, c.context_model, meter=self.meter)
        if c.models == "fake":
            from shared.adapters.fake_models import FakeContextExtractor

            return FakeContextExtractor()
        from shared.adapters.local_models.context import LocalContextExtractor

        return LocalContextExtractor()

    @part
    def fallback(self) -> ContextExtractor:
        """Reduces a full context without a model, where the extractor refuses to."""
        from shared.adapters.local_models.context import LocalContextExtractor

        return LocalContextExtractor()

    @part
    def authenticator(self) -> Authenticator:
        if self.config.local_only:
            from shared.adapters.local_auth import LocalAuthenticator

            return LocalAuthenticator(self.config.local_user)
        from shared.adapters.google.firebase_auth import FirebaseAuthenticator

        return FirebaseAuthenticator(self.config.project)

    @part
    def push_verifier(self) -> PushVerifier:
        if self.config.local_only:
            from shared.adapters.local_auth import LocalPushVerifier

            return LocalPushVerifier()
        from shared.adapters.google.push_auth import OidcPushVerifier

        return OidcPushVerifier(self.config.push_audience, self.config.push_service_account)

    @part
    def store(self) -> JobStore:
        from shared.adapters.postgres.job_store import PostgresJobStore

        return PostgresJobStore(self.database, self.config.failed_chapters_tolerated, self.config.caps)

    @part
    def readiness(self) -> Readiness:
        from shared.adapters.postgres.readiness import PostgresReadiness

        return PostgresReadiness(self.database)

    @part
    def leases(self) -> Leases:
        from shared.adapters.postgres.leases import PostgresLeases

        return PostgresLeases(self.database)

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

        return PostgresRedrives(self.database, self.config.failed_chapters_tolerated)

    @part
    def retention(self) -> Retention:
        from shared.adapters.postgres.retention import PostgresRetention

        return PostgresRetention(self.database)

    @part
    def catalogue(self) -> Catalogue:
        from shared.adapters.postgres.catalogue import PostgresCatalogue

        return PostgresCatalogue(self.database)

    @part
    def api_keys(self) -> ApiKeys:
        from shared.adapters.postgres.api_keys import PostgresApiKeys

        return PostgresApiKeys(self.database)

    @part
    def webhooks(self) -> Webhooks:
        from shared.adapters.postgres.webhooks import PostgresWebhooks

        return PostgresWebhooks(self.database)

    @part
    def webhook_deliveries(self) -> WebhookDeliveries:
        from shared.adapters.postgres.webhook_queue import PostgresWebhookDeliveries

        return PostgresWebhookDeliveries(self.database)

    @part
    def webhook_sender(self) -> WebhookSender:
        from shared.adapters.webhook_sender import PinnedWebhookSender

        c = self.config
        return PinnedWebhookSender(c.webhook_timeout_seconds, allow_private=c.webhooks_allow_private)

    @part
    def texts(self) -> Texts:
        from shared.adapters.postgres.texts import PostgresTexts

        return PostgresTexts(self.database)

    @part
    def identifiers(self) -> Identifiers:
        from shared.adapters.postgres.identifiers import PostgresIdentifiers

        return PostgresIdentifiers(self.database)

    @part
    def search_index(self) -> SearchIndex:
        from shared.adapters.postgres.search_index import PostgresSearchIndex

        return PostgresSearchIndex(self.database)

    def close(self) -> None:
        """Close what was opened. Safe to repeat."""
        for name in ("leases", "database", "telemetry"):
            if name in self.__dict__:
                self.__dict__[name].close()
