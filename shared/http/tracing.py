"""Requests to the API as spans. A caller that traces, by a traceparent, finds them in its own trace."""

from __future__ import annotations

from flask import Flask, Response, g, request

from shared.domain.trace_context import TRACEPARENT
from shared.ports import Telemetry
from shared.ports.telemetry import ERROR


def trace_requests(app: Flask, telemetry: Telemetry) -> None:
    """From before all else that is done for a request until after it. Named by the rule that its address fits: the
    address itself is the caller's text."""

    @app.before_request
    def begin() -> None:
        route = request.url_rule.rule if request.url_rule else "unknown"
        method = request.method if request.url_rule else "HTTP"
        about = {"http.request.method": method, "http.route": route}
        parent = request.headers.get(TRACEPARENT)
        g.span = telemetry.span(f"{method} {route}", about, parent=parent, kind="server")
        g.span.__enter__()

    @app.after_request
    def note_status(response: Response) -> Response:
        telemetry.note({"http.response.status_code": response.status_code})
        if response.status_code >= 500:
            telemetry.note({ERROR: str(response.status_code)})
        return response

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        if span := g.pop("span", None):
            span.__exit__(None, None, None)
