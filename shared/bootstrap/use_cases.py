"""The mechanisms of the pipeline, and what users and operators ask for, over the ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.bootstrap.adapters import Adapters
from shared.bootstrap.parts import part

if TYPE_CHECKING:
    from shared.pipeline.heartbeat import Heartbeat
    from shared.pipeline.outbox import Outbox
    from shared.pipeline.projector import Projector
    from shared.pipeline.refresh import Refresh
    from shared.use_cases.control_book import ControlBook
    from shared.use_cases.import_book import ImportBook
    from shared.use_cases.reconcile import Reconcile
    from shared.use_cases.redrive import RedriveDeadLetters
    from shared.use_cases.reembed import Reembed
    from shared.use_cases.replay import Replay
    from shared.use_cases.restore import Restore
    from shared.use_cases.watch_book import WatchBook


class UseCases(Adapters):
    """Each is imported where it is first used: a function loads no more than it needs."""

    @part
    def outbox(self) -> Outbox:
        from shared.pipeline.outbox import Outbox

        return Outbox(store=self.store, publisher=self.publisher, clock=self.clock, telemetry=self.telemetry)

    @part
    def projector(self) -> Projector:
        from shared.pipeline.projector import Projector

        return Projector(
            projections=self.projections,
            live_documents=self.live_documents,
            clock=self.clock,
            telemetry=self.telemetry,
        )

    @part
    def heartbeat(self) -> Heartbeat:
        from shared.pipeline.heartbeat import Heartbeat

        return Heartbeat(leases=self.leases, clock=self.clock)

    @part
    def refresh(self) -> Refresh:
        from shared.pipeline.refresh import Refresh

        return Refresh(projector=self.projector)

    @part
    def import_book(self) -> ImportBook:
        from shared.adapters.postgres.imports import PostgresImports
        from shared.use_cases.import_book import ImportBook

        return ImportBook(
            imports=PostgresImports(self.database, self.config.max_books_under_way, self.embedder.model.key),
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
            redrive=self.redrive,
            telemetry=self.telemetry,
        )

    @part
    def control(self) -> ControlBook:
        from shared.adapters.postgres.control import PostgresControl
        from shared.use_cases.control_book import ControlBook

        return ControlBook(
            control=PostgresControl(self.database, self.config.failed_chapters_tolerated),
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
    def reembed(self) -> Reembed:
        from shared.adapters.postgres.outdated_books import PostgresOutdatedBooks
        from shared.adapters.postgres.reembeddings import PostgresReembeddings
        from shared.use_cases.reembed import Reembed

        return Reembed(
            outdated=PostgresOutdatedBooks(self.database),
            reembeddings=PostgresReembeddings(self.database),
            embedder=self.embedder,
            outbox=self.outbox,
            projector=self.projector,
            clock=self.clock,
            new_id=self.new_id,
            at_once=self.config.books_reembedded_at_once,
        )

    @part
    def watch_book(self) -> WatchBook:
        from shared.use_cases.watch_book import WatchBook

        return WatchBook(
            live_books=self.live_books,
            catalogue=self.catalogue,
            at_once=self.config.max_streams,
            seconds=self.config.stream_seconds,
            keepalive_seconds=self.config.stream_keepalive_seconds,
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
    def restore(self) -> Restore:
        from shared.adapters.postgres.restores import PostgresRestores
        from shared.use_cases.restore import Restore

        return Restore(
            restores=PostgresRestores(self.database),
            projections=self.projections,
            live_documents=self.live_documents,
            clock=self.clock,
        )

    @part
    def reconcile(self) -> Reconcile:
        from shared.use_cases.reconcile import Reconcile

        return Reconcile(
            store=self.store,
            outbox=self.outbox,
            projector=self.projector,
            redrive=self.redrive,
            reembed=self.reembed,
            retention=self.retention,
            restore=self.restore,
            deliveries=self.webhook_deliveries,
            gauges=self.gauges,
            telemetry=self.telemetry,
            clock=self.clock,
        )
