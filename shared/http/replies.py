"""What all operations of the API share: who asks, how an answer is made and how it is described."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Response, g
from pydantic import BaseModel

from shared.domain.books import Status
from shared.domain.error_codes import shown_to_users
from shared.domain.errors import Forbidden, UnknownBook
from shared.domain.identity import Caller
from shared.ports import Catalogue

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def caller() -> Caller:
    """Who sent the request that is being answered."""
    known: Caller = g.caller
    return known


def scope() -> str | None:
    """Whose books the caller may manage: their own, or, None, everyone's."""
    return None if caller().admin else caller().uid


def administrator() -> Caller:
    """The caller, if they are one. Raises Forbidden."""
    if not caller().admin:
        raise Forbidden("this is for administrators: users with the custom claim `admin`, or keys with that scope")
    return caller()


def required_status(catalogue: Catalogue, book_id: UUID) -> Status:
    """The status of a book that the caller may manage. Raises UnknownBook."""
    row = catalogue.status(scope(), book_id)
    if row is None:
        raise UnknownBook
    return Status(row["status"])


def required_readable(catalogue: Catalogue, book_id: UUID) -> Mapping[str, Any]:
    """The version that readers see of a book that the caller may read. Raises UnknownBook."""
    readable = catalogue.readable(caller().uid, book_id)
    if readable is None:
        raise UnknownBook
    return readable


def told(error: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller is told of an error that was kept: fields of `Error`."""
    return {**error, **shown_to_users(error), "technical": dict(error) if caller().admin else None}


def told_if_any(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return told(error) if error else None


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, headers, mimetype="application/json")


def described(answer: type[BaseModel] | str | None, *problems: int, status: int = 200) -> Any:
    """What OpenAPI says of an operation: it answers with a model, a media type of text, or (None) without a body."""
    codes: dict[Any, Any] = {str(status): answer or {"description": HTTPStatus(status).phrase}}
    if isinstance(answer, str):
        text = {answer: {"schema": {"type": "string"}}}
        codes[str(status)] = {"description": HTTPStatus(status).phrase, "content": text}
    for code in (400, 401, 403, 413, 422, 500, 503, *problems):
        codes[str(code)] = {"description": HTTPStatus(code).phrase, **_PROBLEM}
    return {"responses": codes, "security": [{"bearer": []}]}
