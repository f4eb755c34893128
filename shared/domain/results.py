"""What a stage found out: plain values that the store writes in the transaction that ends the job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from shared.domain.contexts import BookContext, ChapterMetadata, ContextMode, Reduction
from shared.domain.embeddings import EmbeddingModel, Vector
from shared.domain.errors import Rejected
from shared.domain.jobs import Job
from shared.domain.splitting.chapters import SplitMethod
from shared.domain.splitting.chunks import Chunk


def content_hash(text: str) -> bytes:
    """SHA-256 of the UTF-8 text."""
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, kw_only=True)
class NewChapter:
    """A chapter of a new version. `metadata_of` and `vectors_of` are earlier versions' chapters with the same content,
    whose metadata and vectors it takes over."""

    chapter_id: UUID
    number: int
    title: str
    content: str
    content_hash: bytes
    start: int
    end: int
    word_count: int
    metadata_of: UUID | None
    vectors_of: UUID | None


@dataclass(frozen=True, kw_only=True)
class BookSplit:
    """`model`: of which all the version's vectors are."""

    model: EmbeddingModel
    method: SplitMethod
    front_matter: str
    back_matter: str
    chapters: Sequence[NewChapter]
    jobs: Sequence[Job]


@dataclass(frozen=True, kw_only=True)
class ContextExtracted:
    """`missing_chapters`: numbers of those that the context knows nothing of, since they have no metadata.

    `model` names what made the context: where that was reduced without the generating model, another one.
    """

    mode: ContextMode
    model: str
    context: BookContext
    missing_chapters: Sequence[int] = ()
    reduced_because: Reduction | None = None


@dataclass(frozen=True, kw_only=True)
class ContextKept:
    """The full context is that of the version that readers see: nothing is said of its chapters that was not before."""


@dataclass(frozen=True, kw_only=True)
class QuickContextBlocked:
    """The model refuses the book's beginning: there is no early context."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class ChaptersProcessed:
    """What this model said of a group's chapters. `blocked`: those that it refuses, and why: they have no metadata, and
    none is asked for again. `alone`: those that failed among the others: each has a job of its own from now on."""

    model: str
    metadata: Mapping[UUID, ChapterMetadata]
    blocked: Mapping[UUID, str] = field(default_factory=dict)
    alone: Sequence[UUID] = ()


@dataclass(frozen=True, kw_only=True)
class EmbeddedChapter:
    """`vector` is of the whole chapter; those of the chunks are kept already, by content hash."""

    chapter_id: UUID
    chunks: Sequence[Chunk]
    hashes: Sequence[bytes]
    vector: Vector


@dataclass(frozen=True, kw_only=True)
class ChaptersEmbedded:
    model: EmbeddingModel
    chapters: Sequence[EmbeddedChapter]
    rejected: Mapping[UUID, Rejected] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BookCompleted:
    """Readers switch to this version."""


Result = (
    BookSplit
    | ContextExtracted
    | ContextKept
    | QuickContextBlocked
    | ChaptersProcessed
    | ChaptersEmbedded
    | BookCompleted
)
