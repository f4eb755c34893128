"""Moving books to another embedding model: which, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.domain.embedding_requests import fill_requests, group_chapters
from shared.domain.embeddings import EmbeddingModel
from shared.domain.results import content_hash
from shared.domain.splitting.chunks import split_chunks
from shared.domain.tokens import estimate_tokens


@dataclass(frozen=True, kw_only=True)
class Books:
    """Which books: one, those of an owner, or all."""

    book_id: UUID | None = None
    owner_uid: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model is asked: `passages` in `requests`, of about so many `tokens`."""

    passages: int = 0
    tokens: int = 0
    requests: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            passages=self.passages + other.passages,
            tokens=self.tokens + other.tokens,
            requests=self.requests + other.requests,
        )

    def times(self, factor: float) -> Cost:
        return Cost(
            passages=round(self.passages * factor),
            tokens=round(self.tokens * factor),
            requests=round(self.requests * factor),
        )


def cost_of_book(chapters: Sequence[str], model: EmbeddingModel) -> Cost:
    """What it takes to embed a book of these chapters' texts, of which no vector is there."""
    cost = Cost()
    for group in group_chapters(enumerate(chapters), model):
        texts = {content_hash(chunk.text): chunk.text for n in group for chunk in split_chunks(chapters[n])}
        tokens = sum(map(estimate_tokens, texts.values()))
        cost += Cost(passages=len(texts), tokens=tokens, requests=len(fill_requests(texts, model)))
    return cost
