"""Books and their versions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


@dataclass(frozen=True)
class BookVersion:
    """One version of a book: what one import made of it, built aside while readers see an earlier one."""

    book_id: UUID
    version: int


@dataclass(frozen=True, kw_only=True)
class BookFilter:
    """Books of a user, or (`shared`) of others that the user may read: of one status, whose titles contain a text in
    any case, or that their owner imported by this name."""

    uid: str
    shared: bool = False
    status: Status | None = None
    title: str | None = None
    source_id: str | None = None


class Cause(StrEnum):
    """Why there is a version: somebody imported it, or the book moves to another embedding model."""

    IMPORT = "import"
    REEMBED = "reembed"


class Status(StrEnum):
    """The statuses of books and chapters, and the states of jobs.

    Books alone are `queued`, for their turn, or `waiting`, for a model that stays away.
    """

    QUEUED = "queued"
    PENDING = "pending"
    PROCESSING = "processing"
    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ChapterState(StrEnum):
    """How far a chapter is in one stage: the character that the packed document of a book has for it."""

    PENDING = "."
    PROCESSING = ">"
    RETRYING = "~"
    COMPLETED = "#"
    FAILED = "!"
    BLOCKED = "-"
    CANCELLED = "x"


class Phase(StrEnum):
    """What a book waits for."""

    SPLITTING = "splitting"
    CHAPTERS = "chapters"
    CONTEXT = "context"
    EMBEDDINGS = "embeddings"
    COMPLETION = "completion"
    COMPLETED = "completed"
