"""Jobs: units of work with an id that follows from what they do, so that the same work is never queued twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from shared.domain.stages import STAGES, JobType, Stage

_NAMESPACE = UUID("5b1ad3a2-6f0c-4e0e-9d0c-b1d0b1d0b1d0")


class Status(StrEnum):
    """The states of jobs, chapters and books."""

    PENDING = "pending"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a message says: ids only. `data` is what the type needs beyond the book's version."""

    job_id: str
    type: JobType
    book_id: UUID
    version: int
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        return STAGES[self.type]

    @property
    def chapter_ids(self) -> tuple[UUID, ...]:
        """The chapters that this job works on: none for a job of the whole book."""
        return tuple(UUID(c) for c in self.data.get("chapter_ids", ()))

    @property
    def is_fan_in(self) -> bool:
        """Whether it begins when all the chapters are in."""
        return self.type is JobType.BOOK_COMPLETION or self.data.get("mode") == "full"

    @property
    def message(self) -> dict[str, Any]:
        return {"job_id": self.job_id, "book_id": str(self.book_id), "version": self.version, **self.data}


def chapter_id(book_id: UUID, version: int, number: int) -> UUID:
    return uuid5(_NAMESPACE, f"{book_id}/{version}/{number}")


def book_id_for(owner_uid: str, source: str) -> UUID:
    """The id of the book that this owner imports from this source, the same at every retry."""
    return uuid5(_NAMESPACE, f"{owner_uid}\n{source}")


def process_book_job(book_id: UUID, version: int) -> Job:
    job_id = f"book-{book_id}-v{version}"
    return Job(job_id=job_id, type=JobType.BOOK_PROCESSING, book_id=book_id, version=version)


def extract_context_job(book_id: UUID, version: int, mode: str) -> Job:
    return Job(
        job_id=f"context-{mode}-{book_id}-v{version}",
        type=JobType.CONTEXT_EXTRACTION,
        book_id=book_id,
        version=version,
        data={"mode": mode},
    )


def process_chapter_job(book_id: UUID, version: int, chapter: UUID) -> Job:
    return Job(
        job_id=f"chapter-{chapter}",
        type=JobType.CHAPTER_PROCESSING,
        book_id=book_id,
        version=version,
        data={"chapter_ids": [str(chapter)]},
    )


def embed_chapters_job(book_id: UUID, version: int, chapters: Sequence[UUID]) -> Job:
    return Job(
        job_id=f"embedding-{chapters[0]}",
        type=JobType.EMBEDDING_GENERATION,
        book_id=book_id,
        version=version,
        data={"chapter_ids": [str(c) for c in chapters]},
    )


def complete_book_job(book_id: UUID, version: int) -> Job:
    job_id = f"completion-{book_id}-v{version}"
    return Job(job_id=job_id, type=JobType.BOOK_COMPLETION, book_id=book_id, version=version)
