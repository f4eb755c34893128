"""Writing live documents anew."""

from __future__ import annotations

from uuid import UUID

from flask import Response
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.http.replies import administrator, described, reply, required_status
from shared.ports import Catalogue
from shared.use_cases.project_again import ProjectAgain


class ProjectionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    book_id: UUID | None = Field(None, description="Only this book's documents; else those of all books")


class ProjectionReply(BaseModel):
    """`books` whose live documents are written anew, by the next calls and by `reconcile`."""

    books: int


class ProjectedReply(BaseModel):
    projected: int
    left: int


def add_projections(app: OpenAPI, catalogue: Catalogue, project_again: ProjectAgain) -> None:
    @app.post("/api/projections", summary="Write live documents anew", **described(ProjectionReply, 404, status=202))
    def begin_projection(body: ProjectionBody) -> Response:
        administrator()
        if body.book_id:
            required_status(catalogue, body.book_id)
        return reply(ProjectionReply(books=project_again.begin(body.book_id)), 202)

    @app.post("/api/projections/next", summary="Write the next live documents", **described(ProjectedReply))
    def project_next() -> Response:
        administrator()
        projected, left = project_again.next()
        return reply(ProjectedReply(projected=projected, left=left))
