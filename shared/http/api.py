"""The API for apps: routed and described by flask-openapi. One module for each resource."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Response, g, jsonify, request
from flask_openapi.models.info import Info
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI

from shared.domain.errors import Forbidden
from shared.domain.identity import Scope
from shared.http.bodies import drop_body, refuse_large_body
from shared.http.books import add_books
from shared.http.codes import Code
from shared.http.control import add_control
from shared.http.cors import allow_origins, is_preflight
from shared.http.dead_letters import add_dead_letters
from shared.http.errors import add_error_handlers
from shared.http.events import add_events
from shared.http.headers import secured
from shared.http.hosts import refuse_other_hosts
from shared.http.identifiers import add_identifiers
from shared.http.imports import add_imports
from shared.http.jobs import add_jobs
from shared.http.keys import add_keys
from shared.http.problems import Problem, invalid, problem
from shared.http.projections import add_projections
from shared.http.reading import add_reading
from shared.http.reembeddings import add_reembeddings
from shared.http.replays import add_replays
from shared.http.search import add_search
from shared.http.snapshots import add_snapshots
from shared.http.tracing import trace_requests
from shared.http.webhooks import add_webhooks
from shared.ports import Catalogue, Identifiers, Telemetry, Texts
from shared.use_cases.api_keys import AuthenticateCaller, ManageKeys
from shared.use_cases.control_book import ControlBook
from shared.use_cases.import_book import ImportBook
from shared.use_cases.project_again import ProjectAgain
from shared.use_cases.redrive import RedriveDeadLetters
from shared.use_cases.reembed import Reembed
from shared.use_cases.replay import Replay
from shared.use_cases.restore import Restore
from shared.use_cases.search import Search
from shared.use_cases.snapshots import Snapshots
from shared.use_cases.watch_book import WatchBook
from shared.use_cases.webhooks import ManageWebhooks

_RESOURCES = {
    "books": "Manuscripts, and the books that are made of them",
    "search": "Passages by meaning and words",
    "jobs": "The work on books",
    "keys": "Keys for machines",
    "webhooks": "Endpoints of apps, which are told when a book ends",
    "identifiers": "Ids by their beginnings",
    "dead-letters": "Jobs that failed for good",
    "replays": "Messages that are delivered again",
    "snapshots": "What a subscription had not acknowledged at a moment",
    "projections": "Live documents, written anew",
    "restores": "A database that came from a backup",
    "reembeddings": "Books that move to another model",
}
# Of all but imports: 500 numbers of dead letters are the most.
MAX_OPERATION_BYTES = 64_000
MAX_FIELDS = 50
# Brackets, numbers and names of fields: a tree of 20 MB of them would take a gigabyte.
MAX_OUTSIDE_STRINGS = 64_000
# Possessive, so that it takes as long as the body is; an unclosed string goes to the end.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|\s+', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Callers:
    """Who may call: `allowed_origins` are of web apps whose pages may; with `local_only` anyone on this machine may.
    `telemetry` is told of each call."""

    authenticate: AuthenticateCaller
    allowed_origins: Collection[str]
    local_only: bool
    telemetry: Telemetry


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """What the API works with. `max_body_bytes` is an import's."""

    callers: Callers
    catalogue: Catalogue
    import_book: ImportBook
    search: Search
    texts: Texts
    control: ControlBook
    redrive: RedriveDeadLetters
    replay: Replay
    snapshots: Snapshots
    project_again: ProjectAgain
    restore: Restore
    reembed: Reembed
    identifiers: Identifiers
    manage_keys: ManageKeys
    manage_webhooks: ManageWebhooks
    watch_book: WatchBook
    max_body_bytes: int


def create_events_api(callers: Callers, watch_book: WatchBook) -> OpenAPI:
    """Make the Flask app that has a book's events alone: a service of its own, whose streams hold up nobody else."""
    app = _create_guarded(callers, max_body_bytes=0)
    add_events(app, watch_book)
    return app


def create_api(parts: ApiParts) -> OpenAPI:
    """Make the Flask app of all endpoints."""
    app = _create_guarded(parts.callers, parts.max_body_bytes)
    _add_endpoints(app, parts)
    described = cache(lambda: _describe(parts))
    app.add_url_rule("/api/openapi.json", "openapi", lambda: jsonify(described()))
    return app


def _describe(parts: ApiParts) -> dict[str, Any]:
    """The OpenAPI document."""
    app = OpenAPI(
        __name__,
        info=Info(title="Bindery", version="1", description="Turns a manuscript into a book that software can use."),
        security_schemes={
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "Firebase ID token, or a key"}
        },
        validation_error_model=Problem,
        operation_id_callback=lambda *, name, path, method: name,
        doc_ui=False,
    )
    app.openapi_version = "3.1.0"  # generators don't know 3.2 yet
    _add_endpoints(app, parts)
    _tag_by_resource(app)
    return dict(app.api_doc)


def _add_endpoints(app: OpenAPI, parts: ApiParts) -> None:
    add_imports(app, parts.import_book)
    add_books(app, parts.catalogue)
    add_reading(app, parts.catalogue, parts.texts)
    add_events(app, parts.watch_book)
    add_jobs(app, parts.catalogue)
    add_search(app, parts.catalogue, parts.search)
    add_control(app, parts.catalogue, parts.control, parts.redrive)
    add_dead_letters(app, parts.redrive)
    add_replays(app, parts.catalogue, parts.replay)
    add_snapshots(app, parts.snapshots)
    add_projections(app, parts.catalogue, parts.project_again, parts.restore)
    add_reembeddings(app, parts.catalogue, parts.reembed)
    add_identifiers(app, parts.identifiers)
    add_keys(app, parts.manage_keys)
    add_webhooks(app, parts.manage_webhooks)


def _tag_by_resource(app: OpenAPI) -> None:
    """`/api/books/…` is of `books`: generators make a module, and readers a chapter, of each tag."""
    for path, item in app.paths.items():
        for operation in filter(None, (item.get, item.post, item.put, item.delete)):
            operation.tags = [path.split("/")[2]]
    app.tags = [Tag(name=name, description=what) for name, what in _RESOURCES.items()]


class _Undescribed(OpenAPI):
    """Routes and validates. To describe its operations, too, would be most of the time that it takes to start."""

    def _collect_openapi_info(self, rule: str, func: Any, **what: Any) -> Any:
        return super()._collect_openapi_info(rule, func, doc_ui=False)


def _create_guarded(callers: Callers, max_body_bytes: int) -> OpenAPI:
    """A Flask app without endpoints; each request is checked for who asks before its handler runs."""
    app = _Undescribed(__name__, validation_error_callback=invalid, doc_ui=False)
    trace_requests(app, callers.telemetry)
    allow_origins(app, callers.allowed_origins, callers.local_only)
    _guard(app, callers)
    _check_bodies(app, max_body_bytes)
    add_error_handlers(app)
    return app


def _guard(app: OpenAPI, callers: Callers) -> None:
    @app.before_request
    def stay_on_this_machine() -> Response | None:
        return refuse_other_hosts(request, callers.allowed_origins) if callers.local_only else None

    @app.before_request
    def authenticate() -> None:
        if not is_preflight(request):
            headers = request.headers
            g.caller = callers.authenticate(headers.get("Authorization"), headers.get("Bindery-User"))
            needed = Scope.READ if request.method in ("GET", "HEAD") else Scope.WRITE
            if needed not in g.caller.scopes:
                raise Forbidden(f"this takes a key with the scope `{needed}`")

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
            return problem(Code.NOT_JSON, "send the manuscript as JSON, with Content-Type: application/json")
        if not request.is_json:
            return None
        if len(_STRINGS.sub(b"", request.get_data())) > MAX_OUTSIDE_STRINGS:
            return problem(Code.MALFORMED_REQUEST, "the body holds more than text: send the fields that are described")
        try:
            body = request.get_json(silent=True)
        except RecursionError:
            return problem(Code.MALFORMED_REQUEST, "the body is nested too deeply")
        if is_import and not isinstance(body, dict):
            return problem(Code.MALFORMED_REQUEST, "the body is not a JSON object")
        if isinstance(body, dict) and len(body) > MAX_FIELDS:
            return problem(Code.INVALID_FIELDS, f"the body has {len(body)} fields, and may have {MAX_FIELDS}")
        return None
