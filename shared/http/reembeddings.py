"""Moving books to another embedding model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from shared.domain.reembeddings import Books
from shared.http.codes import Code
from shared.http.problems import problem
from shared.http.replies import administrator, described, reply, required_status
from shared.http.schemas import Text
from shared.ports import Catalogue
from shared.use_cases.reembed import Reembed


class ReembeddingQuery(BaseModel):
    book_id: UUID | None = Field(None, description="Only this book")
    owner_uid: Text | None = Field(None, min_length=1, max_length=200, description="Only the books of this user")


class ReembeddingBody(ReembeddingQuery):
    model_config = ConfigDict(extra="forbid")


class ModelEntry(BaseModel):
    name: str
    version: str


class LeftModelEntry(ModelEntry):
    books: int


class EstimateReply(BaseModel):
    """What it takes at most: vectors that are there already cost nothing."""

    model: ModelEntry = Field(description="To which books move: the one that is configured")
    leaving: list[LeftModelEntry] = Field(description="The models that readers of these books see now")
    books: int
    chapters: int
    passages: int
    tokens: int = Field(description="Estimated by characters and their scripts")
    requests: int = Field(description="To the embedding model")
    is_extrapolated: bool = Field(
        description="Whether passages, tokens and requests are reckoned from some of the books"
    )
    generating_requests: int = Field(
        description="To the generating model: for chapters whose metadata failed, and the contexts of their books"
    )


class ReembeddingEntry(BaseModel):
    reembedding_id: UUID
    model: ModelEntry
    book_id: UUID | None
    owner_uid: str | None
    requested_by: str
    requested_at: datetime
    stopped_at: datetime | None
    finished_at: datetime | None
    books: int = Field(description="Those that have readers")
    done: int = Field(description="Their readers see vectors of the model")
    under_way: int
    left: int
    failed: int = Field(description="Not tried again; readers see the version before, and dead letters say why")
    skipped: int = Field(description="Their newest import failed or was cancelled; they move when it goes on")


class ReembeddingsReply(BaseModel):
    reembeddings: list[ReembeddingEntry] = Field(description="At most ten: those that are open, then the newest")


class ReembeddingPath(BaseModel):
    reembedding_id: UUID


class BegunReply(BaseModel):
    begun: int = Field(description="Books that were begun now")


def add_reembeddings(app: OpenAPI, catalogue: Catalogue, reembed: Reembed) -> None:
    def those(query: ReembeddingQuery) -> Books:
        administrator()
        if query.book_id:
            required_status(catalogue, query.book_id)
        return Books(book_id=query.book_id, owner_uid=query.owner_uid)

    def shown() -> Response:
        return reply(ReembeddingsReply(reembeddings=[_entry(row) for row in reembed.wishes()]))

    def shown_one(reembedding_id: UUID, status: int = 200) -> Response:
        row = reembed.wish(reembedding_id)
        if row is None:
            return problem(Code.UNKNOWN_REEMBEDDING, "there is no such reembedding")
        return reply(_entry(row), status)

    @app.get(
        "/api/reembeddings/estimate", summary="What moving books to the model takes", **described(EstimateReply, 404)
    )
    def estimate_reembedding(query: ReembeddingQuery) -> Response:
        estimate = reembed.estimate(those(query))
        return reply(EstimateReply.model_validate({**asdict(estimate), **asdict(estimate.cost)}))

    @app.post("/api/reembeddings", summary="Move books to the model", **described(ReembeddingEntry, 404, status=202))
    def begin_reembedding(body: ReembeddingBody) -> Response:
        return shown_one(reembed.begin(those(body), administrator().uid), 202)

    @app.get("/api/reembeddings", summary="How far books are moved", **described(ReembeddingsReply))
    def list_reembeddings() -> Response:
        administrator()
        return shown()

    @app.get("/api/reembeddings/<reembedding_id>", summary="How far one is", **described(ReembeddingEntry, 404))
    def get_reembedding(path: ReembeddingPath) -> Response:
        administrator()
        return shown_one(path.reembedding_id)

    @app.post("/api/reembeddings/next", summary="Begin the next books", **described(BegunReply))
    def reembed_next() -> Response:
        administrator()
        return reply(BegunReply(begun=reembed.next()))

    @app.post("/api/reembeddings/stop", summary="Move no more books", **described(ReembeddingsReply))
    def stop_reembeddings() -> Response:
        reembed.stop(administrator().uid)
        return shown()


def _entry(row: Mapping[str, Any]) -> ReembeddingEntry:
    model = {"name": row["embedding_model"], "version": row["embedding_version"]}
    return ReembeddingEntry.model_validate({**row, "model": model})
