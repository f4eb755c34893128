"""Embeds a group of chapters at two levels: chunks by the model, chapters as the mean of their chunks."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.domain.embeddings import EmbeddingTask, Vector
from shared.domain.errors import Rejected
from shared.domain.jobs import Job
from shared.domain.packing import pack
from shared.domain.results import ChaptersEmbedded, EmbeddedChapter, content_hash
from shared.domain.splitting.chunks import Chunk, split_chunks
from shared.domain.tokens import estimate_tokens
from shared.ports import ChapterText, Clock, Embedder, Library, VectorCache

DOCUMENT = EmbeddingTask.DOCUMENT


@dataclass(frozen=True, kw_only=True)
class EmbedChapters:
    library: Library
    cache: VectorCache
    embedder: Embedder
    clock: Clock

    def __call__(self, job: Job) -> ChaptersEmbedded:
        """Embed the job's chapters, or those of them that the model takes. Raises Rejected if it takes none of one."""
        chapters = self.library.chapters(job.chapter_ids)
        fresh_since = self.library.fresh_since(job.book_version)
        try:
            embedded = self._embed(job.book_id, chapters, fresh_since)
        except Rejected as error:
            if len(chapters) == 1:
                raise error
            return self._one_by_one(job.book_id, chapters, fresh_since)
        return ChaptersEmbedded(model=self.embedder.model, chapters=embedded)

    def _one_by_one(
        self, book_id: UUID, chapters: Sequence[ChapterText], fresh_since: datetime | None
    ) -> ChaptersEmbedded:
        """Embed each chapter in requests of its own, so that a bad one fails alone."""
        embedded: list[EmbeddedChapter] = []
        rejected: dict[UUID, Rejected] = {}
        for chapter in chapters:
            try:
                embedded += self._embed(book_id, [chapter], fresh_since)
            except Rejected as error:
                rejected[chapter.chapter_id] = error
        return ChaptersEmbedded(model=self.embedder.model, chapters=embedded, rejected=rejected)

    def _embed(
        self, book_id: UUID, chapters: Sequence[ChapterText], fresh_since: datetime | None
    ) -> list[EmbeddedChapter]:
        chunks = {c.chapter_id: split_chunks(c.content) for c in chapters}
        texts = {content_hash(k.text): k for group in chunks.values() for k in group}
        known = self.cache.find(book_id, list(texts), self.embedder.model, DOCUMENT, fresh_since, self.clock())
        vectors = known | self._compute(book_id, {h: k for h, k in texts.items() if h not in known})
        return [_embedded(c, chunks[c.chapter_id], vectors) for c in chapters]

    def _compute(self, book_id: UUID, missing: Mapping[bytes, Chunk]) -> dict[bytes, Vector]:
        """Keep the vectors of each request at once: a later one that fails must not cost them again."""
        model = self.embedder.model
        sizes = [(h, estimate_tokens(k.text)) for h, k in missing.items()]
        vectors: dict[bytes, Vector] = {}
        for group in pack(sizes, max_weight=model.max_request_tokens, max_items=model.max_texts):
            fresh = self.embedder.embed([missing[h].text for h in group], DOCUMENT)
            # As the cache gives them back: a repeated run must come to the same chapter vectors.
            batch = {h: array("f", v).tolist() for h, v in zip(group, fresh, strict=True)}
            self.cache.keep(book_id, batch, model, DOCUMENT, self.clock())
            vectors |= batch
        return vectors


def _embedded(chapter: ChapterText, chunks: Sequence[Chunk], vectors: Mapping[bytes, Vector]) -> EmbeddedChapter:
    hashes = [content_hash(k.text) for k in chunks]
    weighted = ((vectors[h], k.word_count) for h, k in zip(hashes, chunks, strict=True))
    return EmbeddedChapter(chapter_id=chapter.chapter_id, chunks=chunks, hashes=hashes, vector=mean(weighted))


def mean(weighted: Iterable[tuple[Vector, int]]) -> Vector:
    """The unit-length mean of vectors by weight; a weight of 0 counts as 1. At least one vector is needed."""
    columns = zip(*([x * max(1, weight) for x in vector] for vector, weight in weighted), strict=True)
    total = [math.fsum(column) for column in columns]
    length = math.hypot(*total) or 1.0
    return [x / length for x in total]
