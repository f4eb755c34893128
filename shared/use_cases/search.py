"""Finds passages by meaning and words."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from shared.domain.embeddings import EmbeddingTask
from shared.domain.ranking import Hit, rank
from shared.ports import Embedder, SearchIndex

# More than anyone reads, so that the z-scores have something to measure against.
CANDIDATES = 100


@dataclass(frozen=True, kw_only=True)
class Search:
    index: SearchIndex
    embedder: Embedder
    text_weight: float

    def __call__(self, owner_uid: str, query: str, book_id: UUID | None, k: int) -> list[Hit]:
        """Find the best `k` passages of the owner's books, or of one of them. Raises Unavailable."""
        (vector,) = self.embedder.embed([query], EmbeddingTask.QUERY)
        found = self.index.candidates(owner_uid, book_id, query, vector, self.embedder.model, CANDIDATES)
        return rank(found, text_weight=self.text_weight, k=k)
