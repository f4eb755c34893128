"""The text of books: a chapter, or a whole book as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field

from shared.domain.books import BookVersion
from shared.http.books import ChapterHead, ChapterMetadataEntry
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import described, reply, required_readable
from shared.http.schemas import BookPath
from shared.ports import Catalogue, Texts

_MAX_INTEGER = 2**31 - 1
_LINES = "application/x-ndjson"

Row = Mapping[str, Any]


class ChapterPath(BookPath):
    number: int = Field(ge=1, le=_MAX_INTEGER)


class ChapterQuery(BaseModel):
    around: int | None = Field(
        None,
        ge=0,
        le=_MAX_INTEGER,
        description="An offset, as search results give it: only the text near it is told",
    )
    within: int = Field(1000, ge=1, le=100_000, description="How many characters before and after `around`")


class ChapterReply(ChapterHead):
    """`text` goes from `text_start` to `text_end`. Offsets are characters from the start of the imported text."""

    book_id: UUID
    version: int
    text: str
    text_start: int
    text_end: int
    metadata: ChapterMetadataEntry | None


class ExportQuery(BaseModel):
    vectors: bool = Field(
        False, description="With the vectors of chapters and passages; zeros at the end of one may be padding"
    )


def add_reading(app: OpenAPI, catalogue: Catalogue, texts: Texts) -> None:
    @app.get("/api/books/<book_id>/chapters/<number>", summary="A chapter's text", **described(ChapterReply, 404))
    def get_chapter(path: ChapterPath, query: ChapterQuery) -> Response:
        version = _version(required_readable(catalogue, path.book_id))
        found = texts.chapter(version, path.number)
        if found is None:
            return problem(Code.UNKNOWN_CHAPTER, f"the book has no chapter {path.number}")
        first, last = found["start_offset"], found["end_offset"]
        start, end = first, last
        if query.around is not None:
            if not first <= query.around <= last:
                said = (
                    f"chapter {path.number} goes from character {first} to {last}, which {query.around} is not between"
                )
                return problem(Code.INVALID_FIELDS, said)
            start, end = max(first, query.around - query.within), min(last, query.around + query.within)
        about = {"book_id": path.book_id, "version": version.version}
        about |= {"text": found["text"][start - first : end - first], "text_start": start, "text_end": end}
        return reply(ChapterReply.model_validate({**found, **about}))

    @app.get("/api/books/<book_id>/export", summary="A whole book, as lines of JSON", **described(_LINES, 404))
    def export_book(path: BookPath, query: ExportQuery) -> Response:
        """A line for the `book`, for each `chapter` and, after it, each `passage` of it. The last line, of the type
        `end`, counts them: without it, the export is not whole."""
        readable = required_readable(catalogue, path.book_id)
        version = _version(readable)
        context = catalogue.context(version)
        book = {"type": "book", **readable, "context": context and context["context"]}
        return Response(_lines(book, _chapters_and_passages(texts, version, query.vectors)), mimetype=_LINES)


def _version(readable: Row) -> BookVersion:
    return BookVersion(readable["book_id"], readable["version"])


def _chapters_and_passages(texts: Texts, version: BookVersion, vectors: bool) -> Iterator[Row]:
    counts = {"chapters": 0, "passages": 0}
    for number in texts.numbers(version):
        chapter = texts.chapter(version, number, vectors=vectors)
        if chapter is None:
            return  # it was deleted meanwhile
        yield {"type": "chapter", **chapter}
        counts["chapters"] += 1
        for passage in texts.passages(chapter, vectors=vectors):
            yield {"type": "passage", "chapter_number": number, **passage}
            counts["passages"] += 1
    yield {"type": "end", **counts}


def _lines(book: Row, others: Iterator[Row]) -> Iterator[str]:
    for line in chain((book,), others):
        yield json.dumps(line, ensure_ascii=False, default=str) + "\n"
