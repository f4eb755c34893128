"""Finds passages by meaning and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.embeddings import EmbeddingTask, ModelKey, Vector
from shared.domain.errors import Rejected, Unavailable
from shared.domain.ranking import Hit, rank
from shared.ports import Embedder, SearchIndex

# More than anyone reads, so that the z-scores have something to measure against.
CANDIDATES = 100

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Found:
    """`by_meaning`: whether vectors were compared; else the words alone found them."""

    hits: Sequence[Hit]
    by_meaning: bool


@dataclass(frozen=True, kw_only=True)
class Search:
    """`embedders` gives the embedder of a model, or None if it can't be asked here."""

    index: SearchIndex
    embedders: Callable[[ModelKey], Embedder | None]
    text_weight: float

    def __call__(self, owner_uid: str, query: str, book_id: UUID | None, k: int) -> Found:
        """Find the best `k` passages of the owner's books, or of one of them. Raises Unavailable.

        A book is searched by the model that made its vectors, and by words alone if that one gives none.
        """
        models = self.index.models(owner_uid, book_id)
        asked = {model: self._vector(query, model) for model in models}
        vectors = {model: vector for model, vector in asked.items() if vector is not None}
        found = self.index.candidates(owner_uid, book_id, query, vectors, CANDIDATES)
        return Found(hits=rank(found, text_weight=self.text_weight, k=k), by_meaning=bool(vectors) or not models)

    def _vector(self, query: str, model: ModelKey) -> Vector | None:
        """The query's, or None if the model can't be asked, is away, or refuses the query."""
        embedder = self.embedders(model)
        if embedder is None:
            return None
        try:
            (vector,) = embedder.embed([query], EmbeddingTask.QUERY)
        except (Unavailable, Rejected) as error:
            log.warning("search.by_words", model=model.name, model_version=model.version, error=type(error).__name__)
            return None
        return vector
