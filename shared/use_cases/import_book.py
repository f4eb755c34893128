"""Takes a manuscript: writes it as a version, shows it, and sends the first message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from shared.domain.books import Status
from shared.domain.dead_letters import DeadLetterFilter, RedriveRequest
from shared.domain.errors import EmptyManuscript
from shared.domain.imports import Imported, ImportRequest
from shared.domain.jobs import book_id_for
from shared.domain.splitting.words import has_word
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, Imports, Telemetry
from shared.use_cases.redrive import RedriveDeadLetters

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ImportBook:
    imports: Imports
    outbox: Outbox
    projector: Projector
    clock: Clock
    new_id: Callable[[], UUID]
    redrive: RedriveDeadLetters
    telemetry: Telemetry

    def __call__(self, request: ImportRequest) -> tuple[Imported, bool]:
        """Write a version, and send its message when it is its turn. An equal text adds no version: what failed of it
        begins again. But it does if the book is complete with vectors of another model than the one asked now.

        Returns the import, and whether the broker could be reached; if it couldn't, `reconcile` will send it.

        Raises EmptyManuscript, UnknownBook, KeyReused, TooManyBooks, and Unavailable if nothing was
        written.
        """
        if not has_word(request.content):
            raise EmptyManuscript
        traced = replace(request, trace_context=self.telemetry.traceparent())
        imported = self.imports.add(traced, self._book_id(request), self.clock())
        self.telemetry.note({"book_id": str(imported.book_id), "version": imported.version})
        if not imported.is_new:
            if request.readers is not None:
                self.projector.project_book(imported.book_id, chapters=False)
            return self._begin_again(request, imported), True
        log.info("book.imported", book_id=str(imported.book_id), version=imported.version)
        is_published = self.outbox.publish()
        self.outbox.note_queue(imported.book_id)
        self.projector.project_changes([imported.job])
        return imported, is_published

    def _begin_again(self, request: ImportRequest, imported: Imported) -> Imported:
        """Redrive what failed of a version whose text is imported again, but not for a request that is repeated."""
        if imported.status is not Status.FAILED or imported.is_repeat:
            return imported
        chosen = DeadLetterFilter(owner_uid=request.owner_uid, book_id=imported.book_id)
        redrive = self.redrive.redrive(RedriveRequest(chosen=chosen, requested_by=request.owner_uid))
        return replace(imported, status=Status.PROCESSING) if redrive.accepted else imported

    def _book_id(self, request: ImportRequest) -> UUID:
        if request.google_doc_id:
            return book_id_for(request.owner_uid, f"google-doc/{request.google_doc_id}")
        if request.source_id:
            return book_id_for(request.owner_uid, f"source/{request.source_id}")
        return self.new_id()
