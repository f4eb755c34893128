"""The context of a book: a quick one from its beginning, then the full one, reduced from its chapters."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.contexts import BookContext, ContextMode, canonical_text
from shared.domain.jobs import Job
from shared.domain.results import ContextExtracted
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo
from shared.ports import ContextExtractor, Library

# About 4,000 words: enough for a first idea, little enough to be there before the chapters are.
BEGINNING_CHARACTERS = 24_000


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    library: Library
    extractor: ContextExtractor
    memo: ModelAnswerMemo

    def __call__(self, job: Job) -> ContextExtracted:
        """Extract the context that the job's mode names. Raises Rejected, Unavailable."""
        mode = ContextMode(job.data["mode"])
        title = self.library.title(job.book_version)
        if mode is ContextMode.QUICK:
            context, missing = self._quick(job, title), []
        else:
            context, missing = self._full(job, title), self.library.chapters_without_metadata(job.book_version)
        return ContextExtracted(mode=mode, model=self.extractor.model, context=context, missing_chapters=missing)

    def _quick(self, job: Job, title: str) -> BookContext:
        beginning = self.library.beginning(job.book_version, BEGINNING_CHARACTERS)
        question = ("quick", title, beginning)
        return self.memo(
            job, BookContext, self.extractor.model, question, lambda: self.extractor.quick(title, beginning)
        )

    def _full(self, job: Job, title: str) -> BookContext:
        chapters = self.library.metadata(job.book_version)
        question = ("full", title, *map(canonical_text, chapters))
        return self.memo(job, BookContext, self.extractor.model, question, lambda: self.extractor.full(title, chapters))
