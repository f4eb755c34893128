"""Looks up ids by their beginnings, so that people need not copy a whole one."""

from __future__ import annotations

from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field

from shared.http.replies import administrator, described, reply, scope
from shared.http.schemas import Text
from shared.ports import IdentifierKind, Identifiers

MAX_MATCHES = 5


class IdentifiersQuery(BaseModel):
    kind: IdentifierKind
    prefix: Text = Field(min_length=1, max_length=200, description="How the id begins")
    suffix: Text = Field("", max_length=200, description="How it ends")


class IdentifiersReply(BaseModel):
    matches: list[str]
    more: bool = Field(description="Whether there are more than these")


def add_identifiers(app: OpenAPI, identifiers: Identifiers) -> None:
    @app.get("/api/identifiers", summary="Ids by their beginnings", **described(IdentifiersReply))
    def find_identifiers(query: IdentifiersQuery) -> Response:
        if query.kind is IdentifierKind.REPLAY:
            administrator()
        found = identifiers.matching(scope(), query.kind, query.prefix, query.suffix, MAX_MATCHES + 1)
        return reply(IdentifiersReply(matches=list(found[:MAX_MATCHES]), more=len(found) > MAX_MATCHES))
