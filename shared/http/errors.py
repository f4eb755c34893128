"""What each error is over HTTP: one table, for all operations of the API."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import structlog
from flask import Response, request
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import HTTPException

from shared.domain.errors import (
    BinderyError,
    Forbidden,
    InvalidState,
    KeyReused,
    Rejected,
    SnapshotExists,
    TooManyBooks,
    Unauthenticated,
    Unavailable,
    UnknownBook,
    UnknownSnapshot,
)
from shared.http.problems import problem

log = structlog.get_logger()

_RETRY_SECONDS, _BUSY_SECONDS = "5", "30"

Answer = tuple[int, str, dict[str, str]]

# The status, what is wrong and what to do (`{error}` is what the error says), and headers.
ANSWERS: Mapping[type[BinderyError], Answer] = {
    Unauthenticated: (401, "{error}", {"WWW-Authenticate": "Bearer"}),
    Forbidden: (403, "this is for administrators: users with the custom claim `admin`", {}),
    UnknownBook: (404, "there is no such book", {}),
    UnknownSnapshot: (404, "there is no such snapshot; `GET /api/snapshots` lists them", {}),
    InvalidState: (409, "{error}", {}),
    SnapshotExists: (409, "there is a snapshot of that name; delete it, or take another name", {}),
    KeyReused: (422, "{error}; send a new key with a new request", {}),
    Rejected: (422, "{error}", {}),
    TooManyBooks: (429, "{error}; try again when one of them is done", {"Retry-After": _BUSY_SECONDS}),
    Unavailable: (503, "a service that this needs is down; try again soon", {"Retry-After": _RETRY_SECONDS}),
}


def answer(error: BinderyError) -> Response:
    """The problem that the table has for the error's class, or the nearest above it."""
    status, detail, headers = next(ANSWERS[known] for known in type(error).__mro__ if known in ANSWERS)
    return problem(status, detail.format(error=error), headers)


def add_error_handlers(app: OpenAPI) -> None:
    for known in ANSWERS:
        app.register_error_handler(known, _known)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _known(error: BinderyError) -> Response:
    if isinstance(error, Unavailable):
        log.warning("api.unavailable", error=str(error))
    return answer(error)


def _http_error(error: HTTPException) -> Any:
    if error.response is not None:
        return error.response
    allow = dict(error.get_headers()).get("Allow")
    return problem(error.code or 500, error.description or "", {"Allow": allow} if allow else None)


def _unexpected(error: Exception) -> Response:
    # Where it happened, not what was said: a message might tell of a text.
    frames = traceback.format_tb(error.__traceback__)
    log.error("api.unexpected", path=request.path, error_class=type(error).__name__, frames=frames)
    return problem(500, "something unexpected went wrong; it is in the logs")
