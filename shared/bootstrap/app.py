"""What the functions of one process serve their requests with."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from shared.bootstrap.parts import part
from shared.bootstrap.use_cases import UseCases

if TYPE_CHECKING:
    from flask_openapi.openapi import OpenAPI

    from shared.domain.embeddings import ModelKey
    from shared.http.api import Callers
    from shared.http.probes import Probes
    from shared.http.push import PushEndpoints
    from shared.http.reconcile import ReconcileEndpoint
    from shared.ports import Embedder


class App(UseCases):
    """All parts of one process, by name."""

    @part
    def probes(self) -> Probes:
        from shared.http.probes import Probes

        return Probes(
            readiness=self.readiness,
            gauges=self.gauges,
            telemetry=self.telemetry,
            clock=self.clock,
            local_only=self.config.local_only,
        )

    @part
    def push(self) -> PushEndpoints:
        from shared.adapters.postgres.caches import PostgresAnswerCache, PostgresVectorCache
        from shared.adapters.postgres.library import PostgresLibrary
        from shared.http.push import PushEndpoints
        from shared.pipeline.deliver_webhooks import DeliverWebhooks
        from shared.pipeline.record_dead_letter import RecordDeadLetter
        from shared.pipeline.runner import Runner
        from shared.pipeline.stages import stage_functions

        stages = stage_functions(
            library=PostgresLibrary(self.database),
            vectors=PostgresVectorCache(self.database, shared=self.config.share_vectors),
            answers=PostgresAnswerCache(self.database),
            embedder=self.embedder,
            extractor=self.extractor,
            fallback=lambda: self.fallback,
            clock=self.clock,
            at_once=self.at_once,
            calls_at_once=self.config.calls_at_once,
            telemetry=self.telemetry,
        )
        runner = Runner(
            store=self.store,
            outbox=self.outbox,
            projector=self.projector,
            heartbeat=self.heartbeat,
            refresh=self.refresh,
            stages=stages,
            clock=self.clock,
            patience=timedelta(hours=self.config.outage_hours),
            random=self.random,
            telemetry=self.telemetry,
        )
        return PushEndpoints(
            verifier=self.push_verifier,
            runner=runner,
            dead_letters=RecordDeadLetter(
                store=self.store,
                outbox=self.outbox,
                projector=self.projector,
                clock=self.clock,
                telemetry=self.telemetry,
            ),
            deliver_webhooks=DeliverWebhooks(
                deliveries=self.webhook_deliveries,
                sender=self.webhook_sender,
                at_once=self.at_once,
                clock=self.clock,
                new_id=self.new_id,
                random=self.random,
                timeout=timedelta(seconds=self.config.webhook_timeout_seconds),
                disable_after=timedelta(days=self.config.webhook_disable_days),
            ),
            store=self.store,
            clock=self.clock,
            telemetry=self.telemetry,
            local_only=self.config.local_only,
        )

    @part
    def reconcile_endpoint(self) -> ReconcileEndpoint:
        from shared.http.reconcile import ReconcileEndpoint

        return ReconcileEndpoint(
            verifier=self.push_verifier,
            reconcile=self.reconcile,
            telemetry=self.telemetry,
            local_only=self.config.local_only,
        )

    @part
    def callers(self) -> Callers:
        from shared.http.api import Callers
        from shared.use_cases.api_keys import AuthenticateCaller

        return Callers(
            authenticate=AuthenticateCaller(users=self.authenticator, keys=self.api_keys, clock=self.clock),
            allowed_origins=self.config.allowed_origins,
            local_only=self.config.local_only,
            telemetry=self.telemetry,
        )

    @part
    def book_events(self) -> OpenAPI:
        from shared.http.api import create_events_api

        return create_events_api(self.callers, self.watch_book)

    @part
    def api(self) -> OpenAPI:
        from shared.http.api import ApiParts, create_api
        from shared.pipeline.measured_models import MeasuredEmbedder
        from shared.use_cases.api_keys import ManageKeys
        from shared.use_cases.project_again import ProjectAgain
        from shared.use_cases.search import Search
        from shared.use_cases.snapshots import Snapshots
        from shared.use_cases.webhooks import ManageWebhooks

        def embedder_of(key: ModelKey) -> Embedder | None:
            found = self.embedders(key)
            return MeasuredEmbedder(found, self.telemetry) if found else None

        return create_api(
            ApiParts(
                callers=self.callers,
                catalogue=self.catalogue,
                import_book=self.import_book,
                search=Search(
                    index=self.search_index, embedders=embedder_of, text_weight=self.config.search_text_weight
                ),
                texts=self.texts,
                control=self.control,
                redrive=self.redrive,
                replay=self.replay,
                snapshots=Snapshots(broker=self.seekable_broker),
                identifiers=self.identifiers,
                manage_keys=ManageKeys(
                    keys=self.api_keys,
                    clock=self.clock,
                    new_id=self.new_id,
                    new_secret=partial(secrets.token_urlsafe, 32),
                ),
                manage_webhooks=ManageWebhooks(
                    webhooks=self.webhooks,
                    outbox=self.outbox,
                    clock=self.clock,
                    new_id=self.new_id,
                    new_secret=partial(secrets.token_bytes, 32),
                    allow_private=self.config.webhooks_allow_private,
                ),
                project_again=ProjectAgain(
                    projections=self.projections, projector=self.projector, restore=self.restore, clock=self.clock
                ),
                restore=self.restore,
                reembed=self.reembed,
                watch_book=self.watch_book,
                max_body_bytes=self.config.max_body_bytes,
            )
        )
