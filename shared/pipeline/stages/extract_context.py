"""The context of a book: a quick one from its beginning, then the full one, reduced from its chapters.

A model that refuses leaves no book without its end: there is no quick context then, and the full one is reduced without
the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.domain.contexts import BookContext, ChapterMetadata, ContextMode, Reduction, canonical_text
from shared.domain.errors import Blocked
from shared.domain.results import ContextExtracted, ContextKept, QuickContextBlocked
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo, Question
from shared.ports import Claimed, ContextExtractor, Library

# About 4,000 words: enough for a first idea, little enough to be there before the chapters are.
BEGINNING_CHARACTERS = 24_000


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    """`fallback` makes the extractor that reduces a full context without a model: it never refuses."""

    library: Library
    extractor: ContextExtractor
    fallback: Callable[[], ContextExtractor]
    memo: ModelAnswerMemo

    def __call__(self, claim: Claimed) -> ContextExtracted | ContextKept | QuickContextBlocked:
        """Extract the context that the job's mode names. Raises Rejected, Unavailable."""
        title = self.library.title(claim.job.book_version)
        is_quick = claim.job.data["mode"] == ContextMode.QUICK
        return self._quick(claim, title) if is_quick else self._full(claim, title)

    def _quick(self, claim: Claimed, title: str) -> ContextExtracted | QuickContextBlocked:
        beginning = self.library.beginning(claim.job.book_version, BEGINNING_CHARACTERS)
        question = Question(texts=("quick", title, beginning), ask=lambda: self.extractor.quick(title, beginning))
        model = self.extractor.model
        try:
            context = self.memo(claim, BookContext, model, question)
        except Blocked as error:
            return QuickContextBlocked(reason=str(error))
        return ContextExtracted(mode=ContextMode.QUICK, model=model, context=context)

    def _full(self, claim: Claimed, title: str) -> ContextExtracted | ContextKept:
        version = claim.job.book_version
        if self.library.keeps_context(version):
            return ContextKept()
        chapters = self.library.metadata(version)
        missing = self.library.chapters_without_metadata(version)
        if not chapters:
            return self._reduced(title, chapters, missing, Reduction.NO_METADATA)
        texts = ("full", title, *map(canonical_text, chapters))
        question = Question(texts=texts, ask=lambda: self.extractor.full(title, chapters))
        model = self.extractor.model
        try:
            context = self.memo(claim, BookContext, model, question)
        except Blocked:
            return self._reduced(title, chapters, missing, Reduction.BLOCKED)
        return ContextExtracted(mode=ContextMode.FULL, model=model, context=context, missing_chapters=missing)

    def _reduced(
        self, title: str, chapters: Sequence[ChapterMetadata], missing: Sequence[int], because: Reduction
    ) -> ContextExtracted:
        fallback = self.fallback()
        return ContextExtracted(
            mode=ContextMode.FULL,
            model=fallback.model,
            context=fallback.full(title, chapters),
            missing_chapters=missing,
            reduced_because=because,
        )
