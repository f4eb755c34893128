"""What the functions of a process serve their requests with."""

from __future__ import annotations

import threading
from dataclasses import asdict

from flask import Request, Response

from shared.bootstrap import App
from shared.config import read_config
from shared.domain.stages import JobType
from shared.log import configure_logging

_lock = threading.Lock()
_app: App | None = None


def app() -> App:
    """This process's App, made from the environment at the first request. Raises ConfigError."""
    global _app
    with _lock:
        if _app is None:
            config = read_config()
            configure_logging(config.log_level)
            _app = App(config)
        return _app


def install(replacement: App | None) -> None:
    """Makes the functions of this process use this App: for the local stack and tests."""
    global _app
    with _lock:
        _app = replacement


def serve_api(request: Request) -> Response:
    """Answers a request to the API."""
    return Response.from_app(app().api, request.environ)  # type: ignore[return-value]


def serve_push(request: Request, job_type: JobType) -> Response:
    """Answers a push request of a stage's subscription."""
    if refused := _refuse_other_hosts(request):
        return refused
    if job_type is JobType.DEAD_LETTER:
        return app().push.dead_letter(request)
    return app().push.stage(request, job_type)


def serve_reconcile(request: Request) -> Response:
    """Answers Cloud Scheduler."""
    from flask import jsonify

    from shared.domain.errors import Unauthenticated, Unavailable
    from shared.http.bodies import drop_body
    from shared.http.headers import secured
    from shared.http.problems import problem

    drop_body(request)
    if refused := _refuse_other_hosts(request):
        return refused
    try:
        app().push_verifier.verify(request.headers.get("Authorization"))
        response = jsonify(asdict(app().reconcile()))
    except Unauthenticated as error:
        response = problem(401, str(error), {"WWW-Authenticate": "Bearer"})
    except Unavailable:
        response = problem(503, "a service that this needs is down; the next run tries again")
    return secured(response)


def _refuse_other_hosts(request: Request) -> Response | None:
    """Where anyone on this machine may call, as the API does itself."""
    from shared.http.hosts import refuse_other_hosts

    return refuse_other_hosts(request) if app().config.auth == "local" else None
