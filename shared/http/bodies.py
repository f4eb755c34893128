"""Request bodies: bounded before they are read, whether their length is declared or they come in chunks."""

from __future__ import annotations

from io import BytesIO

from flask import Request, Response

from shared.http.codes import Code
from shared.http.problems import problem


def refuse_large_body(request: Request, limit: int) -> Response | None:
    """A 413 for a body of more than `limit` bytes, of which no more than that was read; else None.

    Reads a body in chunks into memory: Werkzeug cuts it off at its limit without a word.
    """
    if request.content_length is not None:
        return _too_large(limit) if request.content_length > limit else None
    # Without a length there is only a body if the server knows where its chunks end.
    if not request.environ.get("wsgi.input_terminated"):
        return None
    body = _read(request.environ["wsgi.input"], limit + 1)
    if len(body) > limit:
        return _too_large(limit)
    _replace(request, body)
    return None


def drop_body(request: Request) -> None:
    """What was not read stays unread: functions-framework would take it into memory after the answer."""
    _replace(request, b"")


def _read(stream: BytesIO, most: int) -> bytes:
    parts, wanted = [], most
    while wanted and (part := stream.read(min(wanted, 65_536))):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _replace(request: Request, body: bytes) -> None:
    # In the environment, which functions-framework's request shares with the API's.
    request.environ["wsgi.input"] = BytesIO(body)
    request.environ["CONTENT_LENGTH"] = str(len(body))


def _too_large(limit: int) -> Response:
    return problem(Code.BODY_TOO_LARGE, f"the body is larger than {limit} bytes; send less at once")
