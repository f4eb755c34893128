"""Jobs: units of work with an id that follows from what they do, so that the same work is never queued twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from shared.domain.books import BookVersion
from shared.domain.contexts import ContextMode
from shared.domain.stages import STAGES, JobType, Stage

_NAMESPACE = UUID("5b1ad3a2-6f0c-4e0e-9d0c-b1d0b1d0b1d0")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a message says: ids only. `data` is what the type needs beyond the book's version. `trace_context` is the
    traceparent of what made it due: its own work is a part of that trace."""

    job_id: str
    type: JobType
    book_id: UUID
    version: int
    data: Mapping[str, Any] = field(default_factory=dict)
    trace_context: str | None = field(default=None, compare=False)

    @property
    def book_version(self) -> BookVersion:
        return BookVersion(self.book_id, self.version)

    @property
    def stage(self) -> Stage:
        return STAGES[self.type]

    @property
    def chapter_ids(self) -> tuple[UUID, ...]:
        """The chapters that this job works on: none for a job of the whole book."""
        return tuple(UUID(c) for c in self.data.get("chapter_ids", ()))

    @property
    def is_fan_in(self) -> bool:
        """Whether counting makes it, when all the chapters are in."""
        return self.type is JobType.BOOK_COMPLETION or self.data.get("mode") == ContextMode.FULL

    @property
    def message(self) -> dict[str, Any]:
        return {"job_id": self.job_id, "book_id": str(self.book_id), "version": self.version, **self.data}


def chapter_id(version: BookVersion, number: int) -> UUID:
    """The id of a version's chapter: the same at every split of the same version."""
    return uuid5(_NAMESPACE, f"{version.book_id}/{version.version}/{number}")


def book_id_for(owner_uid: str, source: str) -> UUID:
    """The id of the book that this owner imports from this source, the same at every retry."""
    return uuid5(_NAMESPACE, f"{owner_uid}\n{source}")


def process_book_job(version: BookVersion) -> Job:
    return _job(f"book-{version.book_id}-v{version.version}", JobType.BOOK_PROCESSING, version)


def extract_context_job(version: BookVersion, mode: ContextMode) -> Job:
    job_id = f"context-{mode}-{version.book_id}-v{version.version}"
    return _job(job_id, JobType.CONTEXT_EXTRACTION, version, mode=str(mode))


def process_chapters_job(version: BookVersion, chapters: Sequence[UUID]) -> Job:
    """A group's job is named after its first chapter; a chapter that failed in its group has one of its own."""
    job_id = f"chapters-{chapters[0]}" if len(chapters) > 1 else f"chapter-{chapters[0]}"
    return _job(job_id, JobType.CHAPTER_PROCESSING, version, chapter_ids=[str(c) for c in chapters])


def embed_chapters_job(version: BookVersion, chapters: Sequence[UUID]) -> Job:
    """A group's job is named after its first chapter."""
    job_id = f"embedding-{chapters[0]}"
    return _job(job_id, JobType.EMBEDDING_GENERATION, version, chapter_ids=[str(c) for c in chapters])


def complete_book_job(version: BookVersion) -> Job:
    return _job(f"completion-{version.book_id}-v{version.version}", JobType.BOOK_COMPLETION, version)


def _job(job_id: str, job_type: JobType, version: BookVersion, **data: Any) -> Job:
    return Job(job_id=job_id, type=job_type, book_id=version.book_id, version=version.version, data=data)
