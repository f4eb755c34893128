"""Embeds a group of chapters at two levels: chunks by the model, chapters as the mean of their chunks."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from operator import mul
from uuid import UUID

from shared.domain.embedding_requests import fill_requests
from shared.domain.embeddings import EmbeddingTask, Vector
from shared.domain.errors import Rejected
from shared.domain.results import ChaptersEmbedded, EmbeddedChapter, content_hash
from shared.domain.splitting.chunks import Chunk, split_chunks
from shared.pipeline.at_once import raise_one_of
from shared.pipeline.measured_models import record_lookups
from shared.ports import AtOnce, ChapterText, Claimed, Clock, Embedder, Library, Telemetry, VectorCache

DOCUMENT = EmbeddingTask.DOCUMENT
Passage = tuple[bytes, Chunk]
"""A chunk, and the hash of its text, by which its vector is kept."""


@dataclass(frozen=True, kw_only=True)
class EmbedChapters:
    library: Library
    cache: VectorCache
    embedder: Embedder
    clock: Clock
    at_once: AtOnce
    calls_at_once: int
    telemetry: Telemetry

    def __call__(self, claim: Claimed) -> ChaptersEmbedded:
        """Embed the job's chapters, or those of them that the model takes. Raises Rejected if it takes none of one, and
        OtherModel."""
        job = claim.job
        wanted = self.library.vectors_wanted(job.book_version)
        self.embedder.model.require(wanted.model)
        chapters = {c.chapter_id: _passages(c) for c in self.library.chapters(job.chapter_ids)}
        group = _Group(chapters=chapters, fresh_since=wanted.fresh_since)
        hashes, model = list(group.texts()), self.embedder.model
        group.vectors.update(self.cache.find(job.book_id, hashes, model, DOCUMENT, group.fresh_since, self.clock()))
        known = len(group.vectors)
        record_lookups(self.telemetry, "vectors", hits=known, misses=len(hashes) - known)
        self._compute(claim, group)
        if group.rejected and len(group.chapters) == 1:
            raise next(iter(group.rejected.values()))
        embedded = [_embedded(i, group.chapters[i], group.vectors) for i in group.chapters if i not in group.rejected]
        return ChaptersEmbedded(model=model, chapters=embedded, rejected=group.rejected)

    def _compute(self, claim: Claimed, group: _Group) -> None:
        """Embed what has no vector yet, in as few requests as the model's limits ask for.

        Tokens are estimated, so a request that is rejected may only be too large: it is halved, down to the single
        text that the model does not take. The chapters that have this text fail, and no more requests are made for
        them. A model that was away is asked by one request first.
        """
        texts = group.texts()
        missing = {h: text for h, text in texts.items() if h not in group.vectors}
        requests = deque(fill_requests(missing, self.embedder.model))
        most = 1 if claim.unavailable_since else self.calls_at_once
        while requests:
            now = [requests.popleft() for _ in range(min(most, len(requests)))]
            asked = [hashes for hashes in map(group.wanted, now) if hashes]
            rejected = self._request(claim.job.book_id, [{h: texts[h] for h in hashes} for hashes in asked], group)
            for hashes, error in reversed([(asked[n], error) for n, error in rejected.items()]):
                if len(hashes) == 1:
                    group.reject(hashes[0], error)
                else:
                    middle = len(hashes) // 2
                    requests.extendleft([hashes[middle:], hashes[:middle]])
            most = self.calls_at_once

    def _request(self, book_id: UUID, requests: Sequence[Mapping[bytes, str]], group: _Group) -> dict[int, Rejected]:
        """Make these requests at once, and return which were rejected. The vectors of the others are kept before
        anything else is raised: a later attempt must not cost them again."""
        calls = [partial(self.embedder.embed, list(texts.values()), DOCUMENT) for texts in requests]
        outcomes = self.at_once(calls)
        answered = [zip(r, o, strict=True) for r, o in zip(requests, outcomes, strict=True) if isinstance(o, list)]
        # As the cache gives them back: a repeated run must come to the same chapter vectors.
        vectors = {h: array("f", v).tolist() for h, v in chain.from_iterable(answered)}
        if vectors:
            model, since = self.embedder.model, group.fresh_since
            group.vectors.update(self.cache.keep(book_id, vectors, model, DOCUMENT, since, self.clock()))
        rejected = {n: o for n, o in enumerate(outcomes) if isinstance(o, Rejected)}
        raise_one_of(o for o in outcomes if isinstance(o, Exception) and not isinstance(o, Rejected))
        return rejected


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Chapters on their way to vectors: the passages of each, what was found of them, and which chapters failed.

    What is older than `fresh_since` is computed again.
    """

    chapters: Mapping[UUID, Sequence[Passage]]
    fresh_since: datetime | None
    vectors: dict[bytes, Vector] = field(default_factory=dict)
    rejected: dict[UUID, Rejected] = field(default_factory=dict)

    def texts(self) -> dict[bytes, str]:
        return {h: chunk.text for passages in self.chapters.values() for h, chunk in passages}

    def reject(self, text: bytes, error: Rejected) -> None:
        for chapter_id, passages in self.chapters.items():
            if any(h == text for h, _ in passages):
                self.rejected.setdefault(chapter_id, error)

    def wanted(self, hashes: Sequence[bytes]) -> list[bytes]:
        """Those that a chapter has which did not fail."""
        if not self.rejected:
            return list(hashes)
        alive = {h for i, passages in self.chapters.items() if i not in self.rejected for h, _ in passages}
        return [h for h in hashes if h in alive]


def _passages(chapter: ChapterText) -> list[Passage]:
    return [(content_hash(k.text), k) for k in split_chunks(chapter.content)]


def _embedded(chapter_id: UUID, passages: Sequence[Passage], vectors: Mapping[bytes, Vector]) -> EmbeddedChapter:
    hashes, chunks = [h for h, _ in passages], [k for _, k in passages]
    vector = mean((vectors[h], k.word_count) for h, k in passages)
    return EmbeddedChapter(chapter_id=chapter_id, chunks=chunks, hashes=hashes, vector=vector)


def mean(weighted: Iterable[tuple[Vector, int]]) -> Vector:
    """The unit-length mean of vectors by weight; a weight of 0 counts as 1. At least one vector is needed."""
    rows = [map(mul, vector, repeat(float(max(1, weight)))) for vector, weight in weighted]
    total = list(map(math.fsum, zip(*rows, strict=True)))
    length = math.hypot(*total) or 1.0
    return [x / length for x in total]
