"""Searching in the caller's books."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field

from shared.domain.ranking import Hit
from shared.http.replies import caller, described, reply, required_readable
from shared.http.schemas import Text
from shared.ports import Catalogue
from shared.use_cases.search import Search


class SearchQuery(BaseModel):
    q: Text = Field(min_length=1, max_length=1000)
    book_id: UUID | None = Field(None, description="A book that you may read; without it, your own books are searched")
    k: int = Field(5, ge=1, le=50)


class Passage(BaseModel):
    """Offsets are characters from the start of the imported text.

    `similarity` is null where the model that made the passage's vector could not be asked about the query: such a
    passage was found by words alone.
    """

    book_id: UUID
    book_title: str
    chapter_id: UUID
    chapter_number: int
    chapter_title: str
    passage: str
    start_offset: int
    end_offset: int
    score: float
    similarity: float | None
    text_rank: float


class SearchReply(BaseModel):
    """`by` tells what was compared: without `meaning`, the model is away, or can't be asked any more."""

    query: str
    by: list[Literal["meaning", "words"]]
    results: list[Passage]


def add_search(app: OpenAPI, catalogue: Catalogue, search_passages: Search) -> None:
    @app.get("/api/search", summary="Find passages by meaning and words", **described(SearchReply, 404))
    def search(query: SearchQuery) -> Response:
        uid = caller().uid
        if query.book_id:
            uid = required_readable(catalogue, query.book_id)["owner_uid"]
        found = search_passages(uid, query.q, query.book_id, query.k)
        return reply(
            SearchReply(
                query=query.q,
                by=["meaning", "words"] if found.by_meaning else ["words"],
                results=[_passage(h) for h in found.hits],
            )
        )


def _passage(hit: Hit) -> Passage:
    fields = {name: getattr(hit.candidate, name) for name in Passage.model_fields if name != "score"}
    return Passage(score=round(hit.score, 4), **fields)
