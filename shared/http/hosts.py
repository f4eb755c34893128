"""Keeps other web sites out where anyone on this machine may call: their pages could call by its user's browser."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Response
from werkzeug.wrappers import Request

from shared.http.codes import Code
from shared.http.problems import problem
from shared.loopback import LOOPBACK


def refuse_other_hosts(request: Request, allowed_origins: Collection[str] = ()) -> Response | None:
    """403 for what was sent to another name (DNS rebinding), or by the page of a site that may not; else None."""
    origin = request.headers.get("Origin") or "//localhost"
    if _host(f"//{request.host}") in LOOPBACK and (_host(origin) in LOOPBACK or origin in allowed_origins):
        return None
    return problem(Code.OTHER_SITE, "this is for callers on this machine alone: http://127.0.0.1, localhost or [::1]")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
