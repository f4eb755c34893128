"""Which web apps' pages may call the API from a browser (CORS): those of named origins, and on one machine its own."""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Request
from flask_openapi.openapi import OpenAPI

_OF_THIS_MACHINE = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?\Z", re.IGNORECASE)
_ASKED_AGAIN_SECONDS = 7200  # Chromium's own limit


def allow_origins(app: OpenAPI, origins: Collection[str], local_only: bool) -> None:
    """Let pages of these origins call; with `local_only` also those that this machine serves. No cookie is asked for:
    callers prove who they are by a token that the page sends."""
    if not origins and not local_only:
        return
    from flask_cors import CORS

    CORS(
        app,
        origins=[*origins, *([_OF_THIS_MACHINE] if local_only else [])],
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        expose_headers=["Location", "Retry-After"],
        max_age=_ASKED_AGAIN_SECONDS,
    )


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if a page may call: it sends no token for that."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
