"""What the API takes and gives."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.domain.jobs import Status

MAX_TITLE = 500
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _storable(value: Any) -> Any:
    """PostgreSQL keeps neither NUL nor half of a surrogate pair: say where it is."""
    if isinstance(value, str):
        found = _UNSTORABLE.search(value)
        if found:
            name = "NUL" if found[0] == "\0" else "an unpaired surrogate"
            message = "holds {name} at character {offset}; remove it and send it again"
            raise PydanticCustomError("unstorable", message, {"name": name, "offset": found.start()})
    return value


Text = Annotated[str, BeforeValidator(_storable)]


class ImportBody(BaseModel):
    """A manuscript: text or Markdown."""

    model_config = ConfigDict(extra="forbid")

    title: Text = Field(min_length=1, max_length=MAX_TITLE)
    content: Text = Field(min_length=1, description="The whole text")
    google_doc_id: Text | None = Field(
        None, min_length=1, max_length=200, description="Names the book: the same id again is a new version of it"
    )
    book_id: UUID | None = Field(None, description="Imports a new version of this book")
    force: bool = Field(False, description="Compute everything again, even what did not change")


class ImportReply(BaseModel):
    book_id: UUID
    job_id: str
    status: Status
    progress: int = Field(ge=0, le=100)
    version: int
    published: bool = Field(description="False if the queue could not be reached: work begins when it can")


class ErrorSummary(BaseModel):
    error_class: str
    message: str
    fingerprint: str


class Attempt(BaseModel):
    """An attempt that failed."""

    attempt: int | None = None
    at: datetime
    error_class: str
    message: str
    fingerprint: str | None = None


class ChapterCounts(BaseModel):
    total: int
    done: int
    processed: int
    embedded: int
    failed: int


class StatusReply(BaseModel):
    book_id: UUID
    version: int
    status: Status
    phase: str
    progress: int = Field(ge=0, le=100)
    chapters: ChapterCounts
    attempt: int = Field(description="The attempt that failed last, while one waits to be made again")
    max_attempts: int | None
    next_attempt_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    error: ErrorSummary | None


class JobReply(BaseModel):
    id: str
    type: str
    data: dict[str, Any]
    state: Status
    progress: int
    attempts: int
    max_attempts: int
    abandoned: int = Field(description="How often its process died and another took over")
    next_attempt_at: datetime | None
    failures: list[Attempt]
    result: dict[str, Any] | None
    error: ErrorSummary | None
    created_at: datetime
    processed_on: datetime | None
    finished_on: datetime | None


class BookEntry(BaseModel):
    book_id: UUID
    title: str
    google_doc_id: str | None
    status: Status
    phase: str
    progress: int
    current_version: int | None
    total_word_count: int
    created_at: datetime
    updated_at: datetime


class BooksReply(BaseModel):
    books: list[BookEntry]
    next: UUID | None = Field(description="`after` for the next page, or null on the last one")


class MentionEntry(BaseModel):
    name: str
    count: int


class ContextReply(BaseModel):
    mode: Literal["quick", "full"]
    model: str
    summary: str
    characters: list[MentionEntry]
    places: list[MentionEntry]
    themes: list[str]
    genre: str | None
    missing_chapters: list[int] = Field([], description="Numbers of chapters that failed: the context lacks them")


class BookReply(BookEntry):
    split_method: str | None = Field(description="`headings`, or `size` where the text has none")
    context: ContextReply | None


class ChapterMetadataEntry(BaseModel):
    summary: str
    characters: list[MentionEntry]
    places: list[MentionEntry]
    themes: list[str]


class ChapterEntry(BaseModel):
    chapter_id: UUID
    number: int
    title: str
    word_count: int
    start_offset: int
    end_offset: int
    status: Status
    error: ErrorSummary | None
    metadata: ChapterMetadataEntry | None


class ChaptersReply(BaseModel):
    book_id: UUID
    version: int
    chapters: list[ChapterEntry]


class Passage(BaseModel):
    """Offsets are characters from the start of the imported text."""

    book_id: UUID
    book_title: str
    chapter_id: UUID
    chapter_number: int
    chapter_title: str
    passage: str
    start_offset: int
    end_offset: int
    score: float
    similarity: float
    text_rank: float


class SearchReply(BaseModel):
    query: str
    results: list[Passage]


class BookPath(BaseModel):
    book_id: UUID


class JobPath(BaseModel):
    job_id: Text = Field(min_length=1, max_length=200)


class BooksQuery(BaseModel):
    limit: int = Field(50, ge=1, le=200)
    after: UUID | None = None


class SearchQuery(BaseModel):
    q: Text = Field(min_length=1, max_length=1000)
    book_id: UUID | None = None
    k: int = Field(5, ge=1, le=50)


class ImportHeaders(BaseModel):
    idempotency_key: Text | None = Field(None, alias="Idempotency-Key", min_length=1, max_length=255)
