"""Extracts one chapter's metadata."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.contexts import ChapterMetadata
from shared.domain.jobs import Job
from shared.domain.results import ChapterProcessed
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo
from shared.ports import ContextExtractor, Library


@dataclass(frozen=True, kw_only=True)
class ProcessChapter:
    library: Library
    extractor: ContextExtractor
    memo: ModelAnswerMemo

    def __call__(self, job: Job) -> ChapterProcessed:
        """Extract the metadata of the job's one chapter. Raises Rejected, Unavailable."""
        (chapter,) = self.library.chapters(job.chapter_ids)
        metadata = self.memo(
            job,
            ChapterMetadata,
            self.extractor.model,
            ("chapter", chapter.title, chapter.content),
            lambda: self.extractor.chapter(chapter.title, chapter.content),
        )
        return ChapterProcessed(chapter_id=chapter.chapter_id, model=self.extractor.model, metadata=metadata)
