"""Ranks passages by meaning and by words together."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.domain.embeddings import ModelKey


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A passage. `similarity` is a cosine, None where the query has no vector of the passage's `model`; `text_rank` is
    PostgreSQL's, 0 without a common word.

    Offsets are characters from the start of the version's content.
    """

    book_id: UUID
    book_title: str
    chapter_id: UUID
    chapter_number: int
    chapter_title: str
    chunk_index: int
    passage: str
    start_offset: int
    end_offset: int
    model: ModelKey
    similarity: float | None
    text_rank: float


@dataclass(frozen=True, kw_only=True)
class Hit:
    candidate: Candidate
    score: float


def rank(candidates: Sequence[Candidate], *, text_weight: float, k: int) -> list[Hit]:
    """The best `k`, by the sum of both scores' z-scores; `text_weight` weighs the words against the meaning.

    Cosines of two models don't compare: each is measured against those of its own. A passage without one is neither
    nearer nor farther than others.

    On whole novels this found more than equal-weight reciprocal rank fusion, which did worse than words alone.
    """
    meaning = _meaning(candidates)
    words = _z_scores([c.text_rank for c in candidates])
    hits = [Hit(candidate=c, score=m + text_weight * w) for c, m, w in zip(candidates, meaning, words, strict=True)]
    hits.sort(key=lambda h: (-h.score, h.candidate.chapter_number, h.candidate.chunk_index))
    return hits[:k]


def _meaning(candidates: Sequence[Candidate]) -> list[float]:
    scores = [0.0] * len(candidates)
    places: defaultdict[ModelKey, list[int]] = defaultdict(list)
    similarities: defaultdict[ModelKey, list[float]] = defaultdict(list)
    for place, candidate in enumerate(candidates):
        if candidate.similarity is not None:
            places[candidate.model].append(place)
            similarities[candidate.model].append(candidate.similarity)
    for model in places:
        for place, score in zip(places[model], _z_scores(similarities[model]), strict=True):
            scores[place] = score
    return scores


def _z_scores(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    center, spread = statistics.fmean(values), statistics.pstdev(values)
    return [(v - center) / spread if spread else 0.0 for v in values]
