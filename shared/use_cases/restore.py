"""Brings live documents into line with a database that was restored from a backup."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from shared.domain.errors import Unavailable
from shared.ports import Clock, LiveDocuments, Projections, Restores, Tombstone

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What is in PostgreSQL is written anew, whatever its live documents say; then those that are of no row go."""

    restores: Restores
    projections: Projections
    live_documents: LiveDocuments
    clock: Clock

    def begin(self, requested_by: str) -> int:
        """Mark all books, and return how many; `ProjectAgain.next` or `reconcile` does the rest. Safe to repeat.

        Raises Unavailable.
        """
        first_revision = self.restores.begin_epoch(self.clock(), self.live_documents.newest_revision())
        books = self.projections.mark_unprojected(None)
        self.restores.note(first_revision, requested_by, self.clock())
        log.info("restore.begun", books=books, first_revision=first_revision)
        return books

    def delete_left_over(self, limit: int) -> int:
        """Once all documents were written anew, delete at most `limit` of those of before; return how many.

        Raises Unavailable.
        """
        first_revision = self.restores.written()
        if first_revision is None:
            return 0
        left_over = self.live_documents.older_than(first_revision, limit)
        self.live_documents.delete([Tombstone(path=path, revision=first_revision) for path in left_over])
        if len(left_over) < limit:
            self.restores.finish(first_revision, self.clock())
        log.info("restore.deleted", documents=len(left_over), is_finished=len(left_over) < limit)
        return len(left_over)

    def is_done(self) -> bool:
        """Whether no restore is under way."""
        return not self.restores.is_unfinished()

    def refuse_going_back(self) -> None:
        """Raise Unavailable if live documents know of a later revision than the database: it was restored."""
        newest = self.live_documents.newest_revision()
        if newest > self.restores.last_revision():
            log.error("restore.is_due", newest_document=newest)
            raise Unavailable("the live documents are newer than PostgreSQL: it was restored. Run `bindery restored`")
