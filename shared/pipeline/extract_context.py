"""The context of a book: a quick one from its beginning, then the full one, reduced from its chapters."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.jobs import Job
from shared.domain.results import ContextExtracted
from shared.ports import ContextExtractor, Library

# About 4,000 words: enough for a first idea, little enough to be there before the chapters are.
BEGINNING_CHARACTERS = 24_000


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    library: Library
    extractor: ContextExtractor

    def __call__(self, job: Job) -> ContextExtracted:
        mode = job.data["mode"]
        title = self.library.title(job.book_id, job.version)
        if mode == "quick":
            beginning = self.library.beginning(job.book_id, job.version, BEGINNING_CHARACTERS)
            context = self.extractor.quick(title, beginning)
        else:
            context = self.extractor.full(title, self.library.metadata(job.book_id, job.version))
        return ContextExtracted(mode=mode, model=self.extractor.model, context=context)
