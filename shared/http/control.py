"""What owners do with books: cancel, resume, retry, delete, share."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.domain.books import Status
from shared.domain.dead_letters import DeadLetterFilter, RedriveRequest
from shared.domain.errors import InvalidState
from shared.http.dead_letters import RedriveReply
from shared.http.replies import caller, described, reply, required_status, scope
from shared.http.schemas import BookPath, Readers
from shared.ports import Catalogue
from shared.use_cases.control_book import ControlBook
from shared.use_cases.redrive import RedriveDeadLetters


class ReadersBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    readers: Readers = Field(
        description="All users who may read the book beside its owner; nobody else may from then on"
    )


class ReadersReply(BaseModel):
    book_id: UUID
    readers: list[str]


class ControlReply(BaseModel):
    book_id: UUID
    status: Status


def add_control(app: OpenAPI, catalogue: Catalogue, control: ControlBook, redrive: RedriveDeadLetters) -> None:
    def status_of(path: BookPath) -> Response:
        return reply(ControlReply(book_id=path.book_id, status=required_status(catalogue, path.book_id)))

    @app.post("/api/books/<book_id>/cancel", summary="End all work on a book", **described(ControlReply, 404, 409))
    def cancel_book(path: BookPath) -> Response:
        control.cancel(scope(), path.book_id)
        return status_of(path)

    @app.post("/api/books/<book_id>/resume", summary="Go on with a cancelled book", **described(ControlReply, 404, 409))
    def resume_book(path: BookPath) -> Response:
        control.resume(scope(), path.book_id)
        return status_of(path)

    @app.post(
        "/api/books/<book_id>/retry", summary="Redrive a book's dead letters", **described(RedriveReply, 404, 409)
    )
    def retry_book(path: BookPath) -> Response:
        required_status(catalogue, path.book_id)
        failed = DeadLetterFilter(owner_uid=scope(), book_id=path.book_id)
        begun = redrive.redrive(RedriveRequest(chosen=failed, requested_by=caller().uid))
        if not begun.accepted and not begun.refused:
            raise InvalidState("nothing of this book can be done again: nothing failed, or it was discarded")
        return reply(RedriveReply.model_validate(asdict(begun)))

    @app.delete("/api/books/<book_id>", summary="Delete a book for good", **described(None, 404, status=204))
    def delete_book(path: BookPath) -> Response:
        control.delete(scope(), path.book_id)
        return Response(status=204)

    @app.put("/api/books/<book_id>/readers", summary="Share a book", **described(ReadersReply, 404))
    def share_book(path: BookPath, body: ReadersBody) -> Response:
        readers = sorted(set(body.readers))
        control.set_readers(scope(), path.book_id, readers)
        return reply(ReadersReply(book_id=path.book_id, readers=readers))
