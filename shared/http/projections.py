"""Writing live documents anew: after they were lost, or the database was restored."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.http.replies import administrator, described, reply, required_status
from shared.ports import Catalogue
from shared.use_cases.project_again import ProjectAgain
from shared.use_cases.restore import Restore


class ProjectionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    book_id: UUID | None = Field(None, description="Only this book's documents; else those of all books")


class ProjectionReply(BaseModel):
    """`books` whose live documents are written anew, by the next calls and by `reconcile`."""

    books: int


class ProjectedReply(BaseModel):
    """`deleted` after a restore: documents that nothing in the database has. `is_done` when nothing is left to do."""

    projected: int
    deleted: int
    left: int
    is_done: bool


def add_projections(app: OpenAPI, catalogue: Catalogue, project_again: ProjectAgain, restore: Restore) -> None:
    @app.post("/api/projections", summary="Write live documents anew", **described(ProjectionReply, 404, status=202))
    def begin_projection(body: ProjectionBody) -> Response:
        administrator()
        if body.book_id:
            required_status(catalogue, body.book_id)
        return reply(ProjectionReply(books=project_again.begin(body.book_id)), 202)

    @app.post("/api/restores", summary="Say that the database was restored", **described(ProjectionReply, status=202))
    def begin_restore() -> Response:
        return reply(ProjectionReply(books=restore.begin(administrator().uid)), 202)

    @app.post("/api/projections/next", summary="Write the next live documents", **described(ProjectedReply))
    def project_next() -> Response:
        administrator()
        return reply(ProjectedReply(**asdict(project_again.next())))
