"""Importing manuscripts."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.books import Status
from shared.domain.imports import MAX_SOURCE_ID, MAX_TITLE, ImportRequest
from shared.http.replies import caller, described, reply
from shared.http.schemas import Readers, Text
from shared.use_cases.import_book import ImportBook


class ImportHeaders(BaseModel):
    idempotency_key: Text | None = Field(None, alias="Idempotency-Key", min_length=1, max_length=255)


class ImportBody(BaseModel):
    """A manuscript: text or Markdown."""

    model_config = ConfigDict(extra="forbid")

    title: Text | None = Field(
        None,
        min_length=1,
        max_length=MAX_TITLE,
        description="Without it, a book keeps its title; a new one takes its text's first heading",
    )
    content: Text = Field(min_length=1, description="The whole text; it holds at least one word")
    google_doc_id: Text | None = Field(
        None, min_length=1, max_length=200, description="Names the book: the same id again is a new version of it"
    )
    source_id: Text | None = Field(
        None,
        min_length=1,
        max_length=MAX_SOURCE_ID,
        description="Your name for the manuscript: the same again is a new version of its book; the same text, none",
    )
    book_id: UUID | None = Field(None, description="Imports a new version of this book")
    force: bool = Field(False, description="Compute everything again, even what did not change")
    allow_partial: bool = Field(
        False, description="Readers see the new version even if chapters of it failed, and none of the one before"
    )
    readers: Readers | None = Field(
        None, description="All users who may read the book beside its owner; without it, they stay as they are"
    )

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.source_id is not None and (self.google_doc_id is not None or self.book_id is not None):
            raise ValueError("a source_id names the book: leave out google_doc_id and book_id")
        return self


class ImportReply(BaseModel):
    book_id: UUID
    job_id: str
    status: Status
    progress: int = Field(ge=0, le=100)
    version: int
    published: bool = Field(description="False if the queue could not be reached: work begins when it can")


def add_imports(app: OpenAPI, import_manuscript: ImportBook) -> None:
    @app.post(
        "/api/books/import",
        summary="Import a manuscript",
        **described(ImportReply, 404, 415, 429, status=202),
    )
    def import_book(header: ImportHeaders, body: ImportBody) -> Response:
        imported, published = import_manuscript(
            ImportRequest(
                owner_uid=caller().uid,
                title=body.title,
                content=body.content,
                google_doc_id=body.google_doc_id,
                source_id=body.source_id,
                book_id=body.book_id,
                force=body.force,
                allow_partial=body.allow_partial,
                readers=None if body.readers is None else sorted(set(body.readers)),
                idempotency_key=header.idempotency_key,
            )
        )
        answer = ImportReply(
            book_id=imported.book_id,
            job_id=imported.job.job_id,
            status=Status.PROCESSING if imported.status is Status.PENDING else imported.status,
            progress=imported.progress,
            version=imported.version,
            published=published,
        )
        return reply(answer, 202, {"Location": f"/api/books/{imported.book_id}/status"})
