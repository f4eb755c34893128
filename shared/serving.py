"""What the functions of a process serve their requests with."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask, Request, Response

from shared.bootstrap import App
from shared.config import Config, read_config
from shared.domain.errors import ConfigError
from shared.domain.stages import JobType
from shared.log import configure_logging
from shared.ports import Telemetry

_lock = threading.Lock()
_config: Config | None = None
_app: App | None = None
_under_way = 0


def check_configuration() -> None:
    """Read the environment when a function is imported. What is wrong ends the process with all of it said, so that a
    bad deployment fails its startup probe. Does nothing where an App is installed already."""
    global _config
    with _lock:
        if _app is None:
            try:
                _config = read_config()
            except ConfigError as error:
                sys.exit(f"bindery: the configuration is wrong: {error}")


def app() -> App:
    """This process's App, made at the first request: the server forks after import. Raises ConfigError."""
    global _app
    with _lock:
        if _app is None:
            config = _config or read_config()
            _app = App(config)
            configure_logging(config.logs, trace=traceparent)
        return _app


def install(replacement: App | None) -> None:
    """Make the functions of this process use this App: for the local stack and tests."""
    global _app
    with _lock:
        _app = replacement


def traceparent() -> str | None:
    """Where what is served just now stands in its trace: for its logs."""
    return _app.telemetry.traceparent() if _app else None


def serve_api(request: Request) -> Response:
    """Answer a request to the API."""
    return _serve_app(request, lambda app: app.api)


def serve_book_events(request: Request) -> Response:
    """Answer a request for a book's events."""
    return _serve_app(request, lambda app: app.book_events)


def serve_push(request: Request, job_type: JobType) -> Response:
    """Answer a push request of a stage's subscription."""
    if job_type is JobType.DEAD_LETTER:
        return _serve(request, lambda app: app.push.dead_letter(request))
    if job_type is JobType.NOTIFICATIONS:
        return _serve(request, lambda app: app.push.notify(request))
    return _serve(request, lambda app: app.push.stage(request, job_type))


def serve_reconcile(request: Request) -> Response:
    """Answer Cloud Scheduler."""
    return _serve(request, lambda app: app.reconcile_endpoint(request))


def _serve_app(request: Request, part: Callable[[App], Flask]) -> Response:
    return _serve(request, lambda app: Response.from_app(part(app), request.environ))  # type: ignore[arg-type,return-value]


def _serve(request: Request, answer: Callable[[App], Response]) -> Response:
    """Answer a probe, or whatever else it is."""
    serving = app()
    if probe := serving.probes(request):
        return probe
    with _last_flushes(serving.telemetry):
        return answer(serving)


@contextmanager
def _last_flushes(telemetry: Telemetry) -> Iterator[None]:
    """Where nothing is under way, Cloud Run takes the CPU away: what ends last sends what all have told."""
    global _under_way
    with _lock:
        _under_way += 1
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            is_last = not _under_way
        if is_last:
            telemetry.flush()
