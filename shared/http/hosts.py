"""Keeps other web sites out where anyone on this machine may call: their pages could call by its user's browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response
from werkzeug.wrappers import Request

from shared.http.problems import problem
from shared.loopback import LOOPBACK


def refuse_other_hosts(request: Request) -> Response | None:
    """403 for what was sent to another name (DNS rebinding), or by another site's page; else None."""
    names = [f"//{request.host}", request.headers.get("Origin") or "//localhost"]
    if all(_host(name) in LOOPBACK for name in names):
        return None
    return problem(403, "this is for callers on this machine alone: http://127.0.0.1, localhost or [::1]")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
