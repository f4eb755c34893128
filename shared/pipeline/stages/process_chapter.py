"""Extracts one chapter's metadata, or finds out that the model refuses to."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.contexts import ChapterMetadata
from shared.domain.errors import Blocked
from shared.domain.jobs import Job
from shared.domain.results import ChapterBlocked, ChapterProcessed
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo
from shared.ports import ContextExtractor, Library


@dataclass(frozen=True, kw_only=True)
class ProcessChapter:
    library: Library
    extractor: ContextExtractor
    memo: ModelAnswerMemo

    def __call__(self, job: Job) -> ChapterProcessed | ChapterBlocked:
        """Extract the metadata of the job's one chapter. Raises Rejected, Unavailable."""
        (chapter,) = self.library.chapters(job.chapter_ids)
        model = self.extractor.model
        try:
            metadata = self.memo(
                job,
                ChapterMetadata,
                model,
                ("chapter", chapter.title, chapter.content),
                lambda: self.extractor.chapter(chapter.title, chapter.content),
            )
        except Blocked as error:
            return ChapterBlocked(chapter_id=chapter.chapter_id, model=model, reason=str(error))
        return ChapterProcessed(chapter_id=chapter.chapter_id, model=model, metadata=metadata)
