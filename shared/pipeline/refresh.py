"""Writes what was held back of the live documents of books that are worked on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from shared.pipeline.periodic import Periodic
from shared.pipeline.projector import Projector


@dataclass(kw_only=True)
class Refresh(Periodic[UUID]):
    """Not by the thread of the heartbeat: a slow store of live documents must not cost a lease."""

    projector: Projector

    def do(self, held: Collection[UUID]) -> None:
        for book_id in set(held):
            self.projector.project_held_back(book_id)
