"""Splits a manuscript into chapters, compares them with the version before, and fans out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.domain import jobs
from shared.domain.books import Cause
from shared.domain.contexts import ContextMode
from shared.domain.embedding_requests import group_chapters
from shared.domain.errors import EmptyManuscript
from shared.domain.jobs import Job
from shared.domain.packing import pack
from shared.domain.results import BookSplit, NewChapter, content_hash
from shared.domain.splitting.chapters import Section, SectionKind, Split, split_chapters
from shared.domain.splitting.words import count_words
from shared.ports import Claimed, ContextExtractor, Embedder, Library, Reusable, Source


@dataclass(frozen=True, kw_only=True)
class ProcessBook:
    library: Library
    embedder: Embedder
    extractor: ContextExtractor
    calls_at_once: int

    def __call__(self, claim: Claimed) -> BookSplit:
        """Split the version's manuscript and name the jobs of what is missing. Raises EmptyManuscript,
        and OtherModel."""
        job = claim.job
        source = self.library.source(job.book_version)
        self.embedder.model.require(source.embedding_model)
        split = self._split(job, source)
        sections = [s for s in split.sections if s.kind is SectionKind.CHAPTER]
        if not sections:
            raise EmptyManuscript
        reusable = self._reusable(job, source)
        chapters = [self._chapter(job, source.content, n, s, reusable) for n, s in enumerate(sections, 1)]
        return BookSplit(
            model=self.embedder.model,
            method=split.method,
            front_matter=_matter(source.content, split.sections, SectionKind.FRONT_MATTER),
            back_matter=_matter(source.content, split.sections, SectionKind.BACK_MATTER),
            chapters=chapters,
            jobs=self._fan_out(job, source, chapters),
        )

    def _split(self, job: Job, source: Source) -> Split:
        """A book that moves to another embedding model keeps the chapters that its readers know, whatever the splitter
        would make of its text by now."""
        if source.cause is Cause.REEMBED:
            return self.library.split_of_readers(job.book_version)
        return split_chapters(source.content)

    def _reusable(self, job: Job, source: Source) -> dict[bytes, Reusable]:
        """It keeps their metadata too, whichever generating model it is from."""
        if source.force:
            return {}
        metadata_model = None if source.cause is Cause.REEMBED else self.extractor.model
        return self.library.reusable(job.book_version, metadata_model, self.embedder.model)

    def _chapter(
        self, job: Job, text: str, number: int, section: Section, reusable: Mapping[bytes, Reusable]
    ) -> NewChapter:
        content = text[section.start : section.end]
        digest = content_hash(content)
        same = reusable.get(digest, Reusable())
        return NewChapter(
            chapter_id=jobs.chapter_id(job.book_version, number),
            number=number,
            title=section.title,
            content=content,
            content_hash=digest,
            start=section.start,
            end=section.end,
            word_count=count_words(content),
            metadata_of=same.metadata_of,
            vectors_of=same.vectors_of,
        )

    def _fan_out(self, job: Job, source: Source, chapters: Sequence[NewChapter]) -> list[Job]:
        version = job.book_version
        without_vectors = [(c.chapter_id, c.content) for c in chapters if c.vectors_of is None]
        without_metadata = [(c.chapter_id, 1) for c in chapters if c.metadata_of is None]
        # Readers of a book that moves to another model have its full context already.
        early = [] if source.cause is Cause.REEMBED else [ContextMode.QUICK]
        groups = group_chapters(without_vectors, self.embedder.model, self.calls_at_once)
        return [
            *(jobs.extract_context_job(version, mode) for mode in early),
            *(jobs.embed_chapters_job(version, g) for g in groups),
            *(jobs.process_chapters_job(version, g) for g in pack(without_metadata, max_weight=self.calls_at_once)),
        ]


def _matter(text: str, sections: Iterable[Section], kind: SectionKind) -> str:
    return "".join(text[s.start : s.end] for s in sections if s.kind is kind)
