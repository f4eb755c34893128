"""Writes live documents anew, from what PostgreSQL says: after Firestore lost them, or PostgreSQL was restored."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.pipeline.projector import Projector
from shared.ports import Clock, Projections
from shared.use_cases.restore import Restore

DOCUMENTS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Projected:
    """How many documents were written and deleted, how many are left to write, and whether nothing is left to do."""

    projected: int
    deleted: int
    left: int
    is_done: bool


@dataclass(frozen=True, kw_only=True)
class ProjectAgain:
    projections: Projections
    projector: Projector
    restore: Restore
    clock: Clock

    def begin(self, book_id: UUID | None) -> int:
        """Mark the book, or all books, and return how many. What `next` does not write, `reconcile` does."""
        return self.projections.mark_unprojected(book_id)

    def next(self) -> Projected:
        """Write some documents, or delete some. Raises Unavailable."""
        written = self.projector.project_lagging(DOCUMENTS_AT_ONCE)
        deleted = self.restore.delete_left_over(DOCUMENTS_AT_ONCE)
        left = self.projections.count_lagging(self.clock())
        return Projected(projected=written, deleted=deleted, left=left, is_done=not left and self.restore.is_done())
