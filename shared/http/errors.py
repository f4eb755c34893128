"""What each error is over HTTP: one table, for all operations of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from flask import Response, request
from flask_openapi.openapi import OpenAPI
from werkzeug.exceptions import HTTPException

from shared.domain.errors import (
    BinderyError,
    EmptyManuscript,
    Forbidden,
    InvalidState,
    KeyReused,
    Rejected,
    SnapshotExists,
    TooManyBooks,
    TooManyStreams,
    TooManyWebhooks,
    Unauthenticated,
    Unavailable,
    UnknownBook,
    UnknownDelivery,
    UnknownSnapshot,
    UnknownWebhook,
    WebhookDisabled,
)
from shared.domain.failures import stack_of
from shared.http.codes import Code
from shared.http.problems import problem

log = structlog.get_logger()

_RETRY_SECONDS, _BUSY_SECONDS = "5", "30"

Answer = tuple[Code, str, dict[str, str]]

# The code, what is wrong and what to do (`{error}` is what the error says), and headers.
ANSWERS: Mapping[type[BinderyError], Answer] = {
    Unauthenticated: (Code.UNAUTHENTICATED, "{error}", {"WWW-Authenticate": "Bearer"}),
    Forbidden: (Code.FORBIDDEN, "{error}", {}),
    UnknownBook: (Code.UNKNOWN_BOOK, "there is no such book", {}),
    UnknownSnapshot: (Code.UNKNOWN_SNAPSHOT, "there is no such snapshot; `GET /api/snapshots` lists them", {}),
    UnknownWebhook: (Code.UNKNOWN_WEBHOOK, "there is no such webhook; `GET /api/webhooks` lists them", {}),
    UnknownDelivery: (Code.UNKNOWN_DELIVERY, "the webhook has no such delivery", {}),
    WebhookDisabled: (Code.WEBHOOK_DISABLED, "{error}; enable it first", {}),
    TooManyWebhooks: (Code.TOO_MANY_WEBHOOKS, "{error}; delete one first", {}),
    InvalidState: (Code.INVALID_STATE, "{error}", {}),
    SnapshotExists: (Code.SNAPSHOT_EXISTS, "there is a snapshot of that name; delete it, or take another name", {}),
    KeyReused: (Code.KEY_REUSED, "{error}; send a new key with a new request", {}),
    EmptyManuscript: (Code.EMPTY_MANUSCRIPT, "{error}", {}),
    Rejected: (Code.REJECTED, "{error}", {}),
    TooManyBooks: (Code.TOO_MANY_BOOKS, "{error}; try again when one of them is done", {"Retry-After": _BUSY_SECONDS}),
    TooManyStreams: (
        Code.TOO_MANY_STREAMS,
        "as many streams are open as are allowed; try again soon",
        {"Retry-After": _RETRY_SECONDS},
    ),
    Unavailable: (
        Code.UNAVAILABLE,
        "a service that is needed is down; try again soon",
        {"Retry-After": _RETRY_SECONDS},
    ),
}


def answer(error: BinderyError) -> Response:
    """The problem that the table has for the error's class, or the nearest above it."""
    code, detail, headers = next(ANSWERS[known] for known in type(error).__mro__ if known in ANSWERS)
    return problem(code, detail.format(error=error), headers)


def unexpected() -> Response:
    """The problem of what nobody thought of. Whoever answers with it has logged the error."""
    return problem(Code.UNEXPECTED, "something unexpected went wrong; it is in the logs")


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
    status = error.code or 500
    return problem(_code_of(status), error.description or "", {"Allow": allow} if allow else None, status=status)


def _code_of(status: int) -> Code:
    """That of what Flask itself says by a status."""
    known = {404: Code.UNKNOWN_ADDRESS, 405: Code.METHOD_NOT_ALLOWED, 413: Code.BODY_TOO_LARGE, 415: Code.NOT_JSON}
    return known.get(status, Code.MALFORMED_REQUEST if status < 500 else Code.UNEXPECTED)


def _unexpected(error: Exception) -> Response:
    log.error("api.unexpected", path=request.path, error_class=type(error).__name__, stack_trace=stack_of(error))
    return unexpected()
