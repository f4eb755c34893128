"""Security headers of every answer: browsers must neither render nor sniff it."""

from __future__ import annotations

from flask import Response

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


def secured(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    return response
