"""Fake models for tests and benchmarks: instant, deterministic, and they count their calls.

For tests of whole processes, `BINDERY_FAKE_MODEL_SECONDS` makes each request take so long (`2`, or `1-3`), and no text
that holds what `BINDERY_FAKE_MODEL_REJECTS` says is embedded. While the file `BINDERY_FAKE_MODEL_AWAY` exists, they are
away, and each request adds a byte to it. Each answer adds lines to the file `BINDERY_FAKE_MODEL_ANSWERS`, one for each
text: what was answered (`embed`, or the mode) and the hash of the text.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain, product

from shared.domain.contexts import BookContext, ChapterMetadata, Mention
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector
from shared.domain.errors import ModelUnavailable, Rejected

_DIMENSIONS = 384


def _dawdle() -> None:
    away = os.environ.get("BINDERY_FAKE_MODEL_AWAY")
    if away and os.path.exists(away):
        with open(away, "ab") as file:
            file.write(b".")
        raise ModelUnavailable("429: the fake model is away")
    if seconds := os.environ.get("BINDERY_FAKE_MODEL_SECONDS"):
        least, _, most = seconds.partition("-")
        time.sleep(random.uniform(float(least), float(most or least)))


def _note_answers(kind: str, texts: Sequence[str]) -> None:
    if path := os.environ.get("BINDERY_FAKE_MODEL_ANSWERS"):
        lines = "".join(f"{kind} {hashlib.sha256(text.encode()).hexdigest()}\n" for text in texts)
        with open(path, "ab", buffering=0) as file:  # at once, so that processes may share it
            file.write(lines.encode())


class FakeEmbedder:
    """Vectors from a hash of the text. `calls` counts texts; `before` may raise, for a model that fails."""

    def __init__(
        self,
        before: Callable[[Sequence[str]], None] | None = None,
        *,
        name: str = "fake",
        version: str = "1",
        dimensions: int = _DIMENSIONS,
    ) -> None:
        self._model = EmbeddingModel(
            name=name,
            version=version if dimensions == _DIMENSIONS else f"{version}/{dimensions}",
            dimensions=dimensions,
            max_texts=250,
            max_request_tokens=16_000,
        )
        self.calls: Counter[str] = Counter()
        self.requests = 0
        self.before = before
        self._lock = threading.Lock()

    @property
    def model(self) -> EmbeddingModel:
        return self._model

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        _dawdle()
        if (refused := os.environ.get("BINDERY_FAKE_MODEL_REJECTS")) and any(refused in t for t in texts):
            raise Rejected("the model can't read this")
        if self.before:
            self.before(texts)
        with self._lock:
            self.requests += 1
            self.calls.update(texts)
        _note_answers("embed", texts)
        return [_vector(t, self._model.dimensions) for t in texts]


def _vector(text: str, dimensions: int) -> Vector:
    digest = hashlib.shake_256(text.encode()).digest(math.ceil(dimensions / 8))
    return list(chain.from_iterable(map(_corners(dimensions).__getitem__, digest)))[:dimensions]


@cache
def _corners(dimensions: int) -> list[tuple[float, ...]]:
    """By a byte: eight numbers of a vector of unit length, whose bits are their signs."""
    number = 1 / math.sqrt(dimensions)
    return list(product((-number, number), repeat=8))


class FakeContextExtractor:
    """Summaries that repeat the first words. `calls` counts them by mode; `before` may raise."""

    def __init__(self, before: Callable[[str], None] | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.before = before
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        return "fake/1"

    def _asked(self, mode: str, text: str) -> None:
        _dawdle()
        if self.before:
            self.before(text)
        with self._lock:
            self.calls[mode] += 1
        _note_answers(mode, [text])

    def quick(self, title: str, beginning: str) -> BookContext:
        self._asked("quick", beginning)
        return BookContext(summary=_first_words(beginning), genre="fiction")

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        self._asked("chapter", text)
        return ChapterMetadata(summary=_first_words(text), characters=(Mention(name="Ann", count=1),))

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        self._asked("full", title)
        return BookContext(summary=" ".join(c.summary for c in chapters)[:500], genre="fiction")


def _first_words(text: str) -> str:
    return " ".join(text.split()[:12])
