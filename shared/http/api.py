"""The API for apps: routed and described by flask-openapi3."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from flask import Response, g, jsonify, request
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import HTTPException

from shared.domain.errors import (
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
from shared.domain.imports import ImportRequest
from shared.domain.jobs import Status
from shared.domain.ranking import Hit
from shared.http import schemas as s
from shared.http.bodies import drop_body, refuse_large_body
from shared.http.headers import secured
from shared.http.hosts import refuse_other_hosts
from shared.http.identifiers import add_identifiers
from shared.http.operations import Operations, add_operations
from shared.http.problems import invalid, problem
from shared.http.replies import caller, described, reply, scope
from shared.ports import Authenticator, Catalogue
from shared.ports.identifiers import Identifiers
from shared.use_cases.import_book import ImportBook
from shared.use_cases.search import Search

log = structlog.get_logger()

_RETRY_SECONDS = "5"
_BUSY_SECONDS = "30"

# Of all but imports: 500 numbers of dead letters are the most.
MAX_OPERATION_BYTES = 64_000
MAX_FIELDS = 50
# Brackets, numbers and names of fields: a tree of 20 MB of them would take a gigabyte.
MAX_OUTSIDE_STRINGS = 64_000
# Possessive, so that it takes as long as the body is; an unclosed string goes to the end.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|\s+', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """What the API works with. `max_body_bytes` is an import's; with `local_only` anyone on this machine may call."""

    authenticator: Authenticator
    catalogue: Catalogue
    import_book: ImportBook
    search: Search
    operations: Operations
    identifiers: Identifiers
    max_body_bytes: int
    local_only: bool


def create_api(parts: ApiParts) -> OpenAPI:
    app = OpenAPI(
        __name__,
        info=Info(title="Bindery", version="1", description="Turns a manuscript into a book that software can use."),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "Firebase ID token"}},
        validation_error_callback=invalid,
        doc_ui=False,
    )
    _guard(app, parts)
    _check_bodies(app, parts.max_body_bytes)
    _errors(app, parts)
    _add_imports(app, parts)
    _add_books(app, parts)
    _add_search(app, parts)
    add_operations(app, parts.operations)
    add_identifiers(app, parts.identifiers)
    app.add_url_rule("/api/openapi.json", "openapi", lambda: jsonify(app.api_doc))
    return app


def _guard(app: OpenAPI, parts: ApiParts) -> None:
    @app.before_request
    def stay_on_this_machine() -> Response | None:
        return refuse_other_hosts(request) if parts.local_only else None

    @app.before_request
    def authenticate() -> None:
        g.caller = parts.authenticator.authenticate(request.headers.get("Authorization"))

    @app.after_request
    def secure(response: Response) -> Response:
        drop_body(request)
        return secured(response)


def _check_bodies(app: OpenAPI, max_import_bytes: int) -> None:
    """Before they are validated: each field that is not known would cost a kilobyte."""

    @app.before_request
    def check_body() -> Response | None:
        is_import = request.endpoint == "import_book" and request.method == "POST"
        limit = max_import_bytes if is_import else min(max_import_bytes, MAX_OPERATION_BYTES)
        if refused := refuse_large_body(request, limit):
            return refused
        if is_import and not request.is_json:
            return problem(415, "send the manuscript as JSON, with Content-Type: application/json")
        if not request.is_json:
            return None
        if len(_STRINGS.sub(b"", request.get_data())) > MAX_OUTSIDE_STRINGS:
            return problem(400, "the body holds more than text: send an object of the fields that are described")
        try:
            body = request.get_json(silent=True)
        except RecursionError:
            return problem(400, "the body is nested too deeply")
        if is_import and not isinstance(body, dict):
            return problem(400, "the body is not a JSON object")
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            return problem(422, f"the body has {len(body)} fields; no request has more than {MAX_FIELDS}")
        return None


def _errors(app: OpenAPI, parts: ApiParts) -> None:
    @app.errorhandler(Unauthenticated)
    def unauthenticated(error: Unauthenticated) -> Response:
        return problem(401, str(error), {"WWW-Authenticate": "Bearer"})

    @app.errorhandler(Unavailable)
    def unavailable(error: Unavailable) -> Response:
        log.warning("api.unavailable", error=str(error))
        return problem(503, "a service that this needs is down; try again soon", {"Retry-After": _RETRY_SECONDS})

    @app.errorhandler(UnknownBook)
    def unknown(error: UnknownBook) -> Response:
        return problem(404, "there is no such book")

    @app.errorhandler(Forbidden)
    def forbidden(error: Forbidden) -> Response:
        return problem(403, "this is for administrators: users with the custom claim `admin`")

    @app.errorhandler(InvalidState)
    def not_now(error: InvalidState) -> Response:
        return problem(409, str(error))

    @app.errorhandler(TooManyBooks)
    def too_many(error: TooManyBooks) -> Response:
        detail = f"{error}; try again when one of them is done"
        return problem(429, detail, {"Retry-After": _BUSY_SECONDS})

    @app.errorhandler(UnknownSnapshot)
    def unknown_snapshot(error: UnknownSnapshot) -> Response:
        return problem(404, "there is no such snapshot; `GET /api/snapshots` lists them")

    @app.errorhandler(SnapshotExists)
    def snapshot_exists(error: SnapshotExists) -> Response:
        return problem(409, "there is a snapshot of that name; delete it, or take another name")

    @app.errorhandler(Rejected)
    def rejected(error: Rejected) -> Response:
        return problem(422, str(error))

    @app.errorhandler(KeyReused)
    def key_reused(error: KeyReused) -> Response:
        return problem(422, f"{error}; send a new key with a new request")

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Any:
        if error.response is not None:
            return error.response
        allow = dict(error.get_headers()).get("Allow")
        return problem(error.code or 500, error.description or "", {"Allow": allow} if allow else None)

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        # Where it happened, not what was said: a message might tell of a text.
        frames = traceback.format_tb(error.__traceback__)
        log.error("api.unexpected", path=request.path, error_class=type(error).__name__, frames=frames)
        return problem(500, "something unexpected went wrong; it is in the logs")


def _add_imports(app: OpenAPI, parts: ApiParts) -> None:
    @app.post(
        "/api/books/import",
        summary="Import a manuscript",
        **described(s.ImportReply, 404, 415, 429, status=202),
    )
    def import_book(header: s.ImportHeaders, body: s.ImportBody) -> Response:
        imported, published = parts.import_book(
            ImportRequest(
                owner_uid=caller().uid,
                title=body.title,
                content=body.content,
                google_doc_id=body.google_doc_id,
                book_id=body.book_id,
                force=body.force,
                idempotency_key=header.idempotency_key,
            )
        )
        answer = s.ImportReply(
            book_id=imported.book_id,
            job_id=imported.job.job_id,
            status=Status.PROCESSING if imported.status is Status.PENDING else imported.status,
            progress=imported.progress,
            version=imported.version,
            published=published,
        )
        return reply(answer, 202, {"Location": f"/api/books/{imported.book_id}/status"})


def _add_books(app: OpenAPI, parts: ApiParts) -> None:
    catalogue = parts.catalogue

    @app.get("/api/books", summary="Your books, the newest first", **described(s.BooksReply))
    def books(query: s.BooksQuery) -> Response:
        rows = catalogue.books(caller().uid, query.after, query.limit + 1)
        page = [s.BookEntry.model_validate(dict(r)) for r in rows[: query.limit]]
        more = len(rows) > query.limit
        return reply(s.BooksReply(books=page, next=page[-1].book_id if more else None))

    @app.get("/api/books/<book_id>", summary="A book and what is known of it", **described(s.BookReply, 404))
    def book(path: s.BookPath) -> Response:
        status, readable = _book(catalogue, path.book_id)
        context = catalogue.context(path.book_id, readable["version"])
        entry = {**status, "title": readable["title"], "split_method": readable["split_method"]}
        known = {**context["context"], "mode": context["mode"], "model": context["model"]} if context else None
        return reply(s.BookReply.model_validate({**entry, "context": known}))

    @app.get("/api/books/<book_id>/status", summary="How far a book is", **described(s.StatusReply, 404))
    def book_status(path: s.BookPath) -> Response:
        row = catalogue.status(scope(), path.book_id)
        if row is None:
            raise UnknownBook
        counts = {name: row[name] for name in s.ChapterCounts.model_fields}
        return reply(s.StatusReply.model_validate({**row, "book_id": path.book_id, "chapters": counts}))

    @app.get("/api/books/<book_id>/chapters", summary="A book's chapters", **described(s.ChaptersReply, 404))
    def chapters(path: s.BookPath) -> Response:
        _, readable = _book(catalogue, path.book_id)
        rows = catalogue.chapters(path.book_id, readable["version"])
        entries = [s.ChapterEntry.model_validate({**r, "number": r["chapter_number"]}) for r in rows]
        return reply(s.ChaptersReply(book_id=path.book_id, version=readable["version"], chapters=entries))

    @app.get("/api/jobs/<job_id>", summary="A job", **described(s.JobReply, 404))
    def job(path: s.JobPath) -> Response:
        row = catalogue.job(scope(), path.job_id)
        if row is None:
            return problem(404, "there is no such job")
        done = 100 if row["state"] == Status.COMPLETED else 0
        return reply(s.JobReply.model_validate({**row, "id": row["job_id"], "progress": done}))


def _book(catalogue: Catalogue, book_id: UUID) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    uid = caller().uid
    status, readable = catalogue.status(uid, book_id), catalogue.readable(uid, book_id)
    if status is None or readable is None:
        raise UnknownBook
    return status, readable


def _add_search(app: OpenAPI, parts: ApiParts) -> None:
    @app.get("/api/search", summary="Find passages by meaning and words", **described(s.SearchReply, 404))
    def search(query: s.SearchQuery) -> Response:
        uid = caller().uid
        if query.book_id and parts.catalogue.status(uid, query.book_id) is None:
            raise UnknownBook
        hits = parts.search(uid, query.q, query.book_id, query.k)
        return reply(s.SearchReply(query=query.q, results=[_passage(h) for h in hits]))


def _passage(hit: Hit) -> s.Passage:
    fields = {name: getattr(hit.candidate, name) for name in s.Passage.model_fields if name != "score"}
    return s.Passage(score=round(hit.score, 4), **fields)
