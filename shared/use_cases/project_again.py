"""Writes live documents anew, from what PostgreSQL says: after Firestore lost them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.pipeline.projector import Projector
from shared.ports import Clock, Projections

DOCUMENTS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class ProjectAgain:
    projections: Projections
    projector: Projector
    clock: Clock

    def begin(self, book_id: UUID | None) -> int:
        """Mark the book, or all books, and return how many. What `next` does not write, `reconcile` does."""
        return self.projections.mark_unprojected(book_id)

    def next(self) -> tuple[int, int]:
        """Write some documents: how many, and how many are left. Raises Unavailable."""
        return self.projector.project_lagging(DOCUMENTS_AT_ONCE), self.projections.count_lagging(self.clock())
