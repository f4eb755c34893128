"""Models whose calls are spans and are measured. The ports are the models' own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from shared.domain.contexts import BookContext, ChapterMetadata
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector
from shared.domain.errors import Blocked, Rejected, Unavailable
from shared.ports import ContextExtractor, Embedder, Telemetry
from shared.ports.metrics import CACHE_LOOKUPS, MODEL_COST, MODEL_SECONDS, MODEL_TOKENS
from shared.ports.telemetry import NOTHING, About


@dataclass(frozen=True)
class MeasuredEmbedder:
    embedder: Embedder
    telemetry: Telemetry

    @property
    def model(self) -> EmbeddingModel:
        return self.embedder.model

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        with _called(self.telemetry, self.model.name, "embed", {"texts": len(texts)}):
            return self.embedder.embed(texts, task)


@dataclass(frozen=True)
class MeasuredExtractor:
    extractor: ContextExtractor
    telemetry: Telemetry

    @property
    def model(self) -> str:
        return self.extractor.model

    def quick(self, title: str, beginning: str) -> BookContext:
        with _called(self.telemetry, self.model, "quick"):
            return self.extractor.quick(title, beginning)

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        with _called(self.telemetry, self.model, "chapter"):
            return self.extractor.chapter(title, text)

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        with _called(self.telemetry, self.model, "full", {"chapters": len(chapters)}):
            return self.extractor.full(title, chapters)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What answers cost, in tokens and money. `prices` are US dollars for a million tokens, read and written, by the
    model's name; of a model that has none there, tokens alone are counted."""

    telemetry: Telemetry
    prices: Mapping[str, tuple[float, float]]

    def __call__(self, model: str, *, read: int, written: int = 0) -> None:
        for tokens, direction in ((read, "read"), (written, "written")):
            self.telemetry.record(MODEL_TOKENS, tokens, {"model": model, "direction": direction})
        # What an extractor calls itself says the version of its questions, too.
        if price := self.prices.get(model.partition("/")[0]):
            self.telemetry.record(MODEL_COST, (read * price[0] + written * price[1]) / 1e6, {"model": model})


@contextmanager
def _called(telemetry: Telemetry, model: str, operation: str, counts: About = NOTHING) -> Iterator[None]:
    began, outcome = time.perf_counter(), "answered"
    try:
        with telemetry.span(f"model {operation}", {"model": model, **counts}, kind="client"):
            yield
    except Exception as error:
        outcome = _outcome_of(error)
        raise
    finally:
        seconds = time.perf_counter() - began
        telemetry.record(MODEL_SECONDS, seconds, {"model": model, "operation": operation, "outcome": outcome})


def _outcome_of(error: Exception) -> str:
    kinds = {Blocked: "blocked", Rejected: "rejected", Unavailable: "unavailable"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "error")


def record_lookups(telemetry: Telemetry, cache: str, *, hits: int, misses: int) -> None:
    """What was found of what was paid for before, and what was not."""
    telemetry.record(CACHE_LOOKUPS, hits, {"cache": cache, "result": "hit"})
    telemetry.record(CACHE_LOOKUPS, misses, {"cache": cache, "result": "miss"})
