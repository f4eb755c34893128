"""Books as their readers see them, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field

from shared.domain.books import BookFilter, BookVersion, Cause, Phase, Status
from shared.domain.contexts import ContextMode, Lack, Reduction
from shared.domain.errors import UnknownBook
from shared.domain.imports import MAX_SOURCE_ID
from shared.domain.splitting.chapters import SplitMethod
from shared.domain.stages import Dependency
from shared.http.replies import caller, described, reply, required_readable, scope, told_if_any
from shared.http.schemas import BookPath, Error, Text
from shared.ports import Catalogue


class ChapterCounts(BaseModel):
    total: int
    done: int
    processed: int
    embedded: int
    failed: int = Field(description="Those that can't be searched: they have no vectors")
    without_metadata: int = Field(description="Those that can be searched, but have no summary")


class StatusReply(BaseModel):
    book_id: UUID
    version: int
    cause: Cause = Field(
        description="Why there is this version: an `import`, or (`reembed`) the book moves to another embedding model"
    )
    current_version: int | None = Field(description="The version that readers see, if there is one")
    status: Status
    phase: Phase
    progress: int = Field(ge=0, le=100)
    chapters: ChapterCounts
    attempt: int = Field(description="Attempts so far of the job that waits for its next one; 0 if none waits")
    max_attempts: int | None
    next_attempt_at: datetime | None
    queue_position: int | None = Field(
        description="Of a book that is `queued`: how many are begun before it, and itself"
    )
    waiting_for: Dependency | None = Field(description="The model that stays away, of a book that is `waiting`")
    started_at: datetime | None
    completed_at: datetime | None
    error: Error | None


class BooksQuery(BaseModel):
    status: Status | None = None
    title: Text | None = Field(None, min_length=1, max_length=200, description="What their titles contain, in any case")
    source_id: Text | None = Field(
        None, min_length=1, max_length=MAX_SOURCE_ID, description="What their owner calls the manuscript"
    )
    totals: bool = Field(False, description="Count all that have such a title, by status")
    limit: int = Field(50, ge=1, le=200)
    after: UUID | None = None
    shared: bool = Field(False, description="Those of others that you may read, instead of your own")


class BookEntry(BaseModel):
    book_id: UUID
    owner_uid: str
    title: str
    google_doc_id: str | None
    source_id: str | None = Field(description="What its owner calls the manuscript, if it was imported so")
    status: Status
    phase: Phase
    progress: int
    current_version: int | None
    total_word_count: int
    created_at: datetime
    updated_at: datetime


class BooksReply(BaseModel):
    books: list[BookEntry]
    totals: dict[Status, int] | None = Field(
        description="If asked for: how many there are of each status, on all pages"
    )
    next: UUID | None = Field(description="`after` for the next page, or null on the last one")


class MentionEntry(BaseModel):
    name: str
    count: int


class ContextReply(BaseModel):
    mode: ContextMode
    model: str
    summary: str
    characters: list[MentionEntry]
    places: list[MentionEntry]
    themes: list[str]
    genre: str | None
    missing_chapters: list[int] = Field([], description="Numbers of chapters without metadata: the context lacks them")
    reduced_because: Reduction | None = Field(
        None, description="Why no model wrote it, if none did: `blocked` (it refuses to), `no_metadata` of any chapter"
    )


class BookReply(BookEntry):
    readers: list[str] = Field(description="Users who may read it beside its owner")
    split_method: SplitMethod | None = Field(description="`headings`, or `size` where the text has none")
    context: ContextReply | None


class ChapterMetadataEntry(BaseModel):
    summary: str
    characters: list[MentionEntry]
    places: list[MentionEntry]
    themes: list[str]


class ChapterHead(BaseModel):
    """Offsets are characters from the start of the imported text."""

    chapter_id: UUID
    number: int
    title: str
    word_count: int
    start_offset: int
    end_offset: int


class ChapterEntry(ChapterHead):
    status: Status
    error: Error | None
    metadata: ChapterMetadataEntry | None
    lacks: dict[Literal["metadata"], Lack] = Field(
        description="What it has not and will not get by itself, and why: the model refuses its text, or the job failed"
    )


class ChaptersReply(BaseModel):
    book_id: UUID
    version: int
    chapters: list[ChapterEntry]


def add_books(app: OpenAPI, catalogue: Catalogue) -> None:
    @app.get("/api/books", summary="Your books, or those shared with you; the newest first", **described(BooksReply))
    def list_books(query: BooksQuery) -> Response:
        chosen = BookFilter(
            uid=caller().uid,
            shared=query.shared,
            status=query.status,
            title=query.title,
            source_id=query.source_id,
        )
        rows = catalogue.books(chosen, query.after, query.limit + 1)
        page = [BookEntry.model_validate(dict(r)) for r in rows[: query.limit]]
        more = len(rows) > query.limit
        totals = catalogue.count_books(chosen) if query.totals else None
        return reply(BooksReply(books=page, totals=totals, next=page[-1].book_id if more else None))

    @app.get("/api/books/<book_id>", summary="A book and what is known of it", **described(BookReply, 404))
    def get_book(path: BookPath) -> Response:
        status, readable = _book(catalogue, path.book_id)
        context = catalogue.context(BookVersion(path.book_id, readable["version"]))
        known = {**context["context"], "mode": context["mode"], "model": context["model"]} if context else None
        return reply(BookReply.model_validate({**status, **readable, "context": known}))

    @app.get("/api/books/<book_id>/status", summary="How far a book is", **described(StatusReply, 404))
    def get_book_status(path: BookPath) -> Response:
        row = catalogue.status(scope(), path.book_id, as_reader=True)
        if row is None:
            raise UnknownBook
        counts = {name: row[name] for name in ChapterCounts.model_fields}
        about = {"book_id": path.book_id, "chapters": counts, "error": told_if_any(row["error"])}
        return reply(StatusReply.model_validate({**row, **about}))

    @app.get("/api/books/<book_id>/chapters", summary="A book's chapters", **described(ChaptersReply, 404))
    def list_chapters(path: BookPath) -> Response:
        _, readable = _book(catalogue, path.book_id)
        rows = catalogue.chapters(BookVersion(path.book_id, readable["version"]))
        entries = [
            ChapterEntry.model_validate({**r, "number": r["chapter_number"], "error": told_if_any(r["error"])})
            for r in rows
        ]
        return reply(ChaptersReply(book_id=path.book_id, version=readable["version"], chapters=entries))


def _book(catalogue: Catalogue, book_id: UUID) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    status = catalogue.status(caller().uid, book_id, as_reader=True)
    if status is None:
        raise UnknownBook
    return status, required_readable(catalogue, book_id)
