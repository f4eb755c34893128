"""The stages: each reads by ids, may call a model, and returns a result that the runner commits.

`STAGES` in `shared.domain.stages` has their limits; this is the table of what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.domain.results import Result
from shared.domain.stages import JobType
from shared.pipeline.measured_models import MeasuredEmbedder, MeasuredExtractor
from shared.pipeline.stages.complete_book import complete_book
from shared.pipeline.stages.embed_chapters import EmbedChapters
from shared.pipeline.stages.extract_context import ExtractContext
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo
from shared.pipeline.stages.process_book import ProcessBook
from shared.pipeline.stages.process_chapters import ProcessChapters
from shared.ports import (
    AnswerCache,
    AtOnce,
    Claimed,
    Clock,
    ContextExtractor,
    Embedder,
    Library,
    Telemetry,
    VectorCache,
)

StageFunction = Callable[[Claimed], Result]


def stage_functions(
    *,
    library: Library,
    vectors: VectorCache,
    answers: AnswerCache,
    embedder: Embedder,
    extractor: ContextExtractor,
    fallback: Callable[[], ContextExtractor],
    clock: Clock,
    at_once: AtOnce,
    calls_at_once: int,
    telemetry: Telemetry,
) -> Mapping[JobType, StageFunction]:
    """What each type of job runs. `fallback` makes the extractor that reduces a full context without a model;
    `calls_at_once` is how many calls of a model one job makes at once."""
    embedder, extractor = MeasuredEmbedder(embedder, telemetry), MeasuredExtractor(extractor, telemetry)
    memo = ModelAnswerMemo(cache=answers, clock=clock, at_once=at_once, telemetry=telemetry)
    return {
        JobType.BOOK_PROCESSING: ProcessBook(
            library=library, embedder=embedder, extractor=extractor, calls_at_once=calls_at_once
        ),
        JobType.CONTEXT_EXTRACTION: ExtractContext(library=library, extractor=extractor, fallback=fallback, memo=memo),
        JobType.CHAPTER_PROCESSING: ProcessChapters(library=library, extractor=extractor, memo=memo),
        JobType.EMBEDDING_GENERATION: EmbedChapters(
            library=library,
            cache=vectors,
            embedder=embedder,
            clock=clock,
            at_once=at_once,
            calls_at_once=calls_at_once,
            telemetry=telemetry,
        ),
        JobType.BOOK_COMPLETION: complete_book,
    }
