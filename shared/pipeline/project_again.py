"""Writes live documents anew, from what PostgreSQL says: after Firestore lost them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.pipeline.projector import Projector
from shared.ports import Clock, Projections

BOOKS_AT_ONCE = 20


@dataclass(frozen=True, kw_only=True)
class ProjectAgain:
    projections: Projections
    projector: Projector
    clock: Clock

    def begin(self, book_id: UUID | None) -> int:
        """Marks the book, or all books, and returns how many. What nobody asks for, `reconcile` writes."""
        return self.projections.unsettle(book_id)

    def next(self) -> tuple[int, int]:
        """Writes the documents of some books: of how many, and how many are left. Raises Unavailable."""
        lagging = self.projections.lagging(self.clock(), BOOKS_AT_ONCE)
        for book_id in lagging:
            self.projector.project_book(book_id)
        return len(lagging), self.projections.count_lagging(self.clock())
