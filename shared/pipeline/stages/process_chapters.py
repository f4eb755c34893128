"""Extracts the metadata of a group of chapters, or finds out that the model refuses to."""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain.contexts import ChapterMetadata
from shared.domain.errors import Blocked
from shared.domain.results import ChaptersProcessed
from shared.pipeline.stages.model_answer_memo import ModelAnswerMemo, Question
from shared.ports import ChapterText, Claimed, ContextExtractor, Library


@dataclass(frozen=True, kw_only=True)
class ProcessChapters:
    library: Library
    extractor: ContextExtractor
    memo: ModelAnswerMemo

    def __call__(self, claim: Claimed) -> ChaptersProcessed:
        """Extract the metadata of the job's chapters. Raises Unavailable, and what it fails by if it has one alone."""
        chapters = self.library.chapters(claim.job.chapter_ids)
        model = self.extractor.model
        answers = self.memo.several(claim, ChapterMetadata, model, [self._question(c) for c in chapters])
        outcomes = {c.chapter_id: answer for c, answer in zip(chapters, answers, strict=True)}
        failed = {i: e for i, e in outcomes.items() if isinstance(e, Exception) and not isinstance(e, Blocked)}
        if failed and len(outcomes) == 1:
            raise next(iter(failed.values()))
        return ChaptersProcessed(
            model=model,
            metadata={i: answer for i, answer in outcomes.items() if not isinstance(answer, Exception)},
            blocked={i: str(answer) for i, answer in outcomes.items() if isinstance(answer, Blocked)},
            alone=list(failed),
        )

    def _question(self, chapter: ChapterText) -> Question[ChapterMetadata]:
        return Question(
            texts=("chapter", chapter.title, chapter.content),
            ask=lambda: self.extractor.chapter(chapter.title, chapter.content),
        )
