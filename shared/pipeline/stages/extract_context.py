"""The context of a book: a quick one from its beginning, then the full one, reduced from its chapters."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.contexts import BookContext
from shared.domain.jobs import Job
from shared.domain.results import ContextExtracted
from shared.pipeline.model_answer_memo import ModelAnswerMemo
from shared.ports import ContextExtractor, Library

# About 4,000 words: enough for a first idea, little enough to be there before the chapters are.
BEGINNING_CHARACTERS = 24_000


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    library: Library
    extractor: ContextExtractor
    ask: ModelAnswerMemo

    def __call__(self, job: Job) -> ContextExtracted:
        mode = job.data["mode"]
        title = self.library.title(job.book_id, job.version)
        context = self._quick(job, title) if mode == "quick" else self._full(job, title)
        missing = self.library.missing(job.book_id, job.version) if mode == "full" else ()
        return ContextExtracted(mode=mode, model=self.extractor.model, context=context, missing_chapters=missing)

    def _quick(self, job: Job, title: str) -> BookContext:
        beginning = self.library.beginning(job.book_id, job.version, BEGINNING_CHARACTERS)
        question = ("quick", title, beginning)
        return self.ask(
            job, BookContext, self.extractor.model, question, lambda: self.extractor.quick(title, beginning)
        )

    def _full(self, job: Job, title: str) -> BookContext:
        chapters = self.library.metadata(job.book_id, job.version)
        question = ("full", title, *map(repr, chapters))
        return self.ask(job, BookContext, self.extractor.model, question, lambda: self.extractor.full(title, chapters))
