"""A book's live documents as server-sent events, for apps without a Firestore of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from flask import Response
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, Field
from pydantic_core import to_json

from shared.domain.errors import Unavailable
from shared.http.replies import described, scope
from shared.http.schemas import BookPath
from shared.ports import Document, Removal
from shared.use_cases.watch_book import BookStream, StreamEnd, WatchBook, Watched

log = structlog.get_logger()

_DESCRIPTION = """`document` has a live document, as it is now and at each change: `{"path", "revision", "fields"}`; the
book's own one comes last of what changed together, with its revision as `id`. `removed` has the `{"path"}` of a chapter
that is no more. The last event is `end`: `{"reason"}` is `deleted`, `denied` (the caller may not read the book any
more) or `time` (open the next stream, with `Last-Event-ID`). A stream that breaks off without it is to be opened again,
too. A comment comes every 15 s."""


class EventsQuery(BaseModel):
    chapters: bool = Field(False, description="The documents of the book's chapters, too; each stream begins with all")


class EventsHeaders(BaseModel):
    last_event_id: str | None = Field(
        None, alias="Last-Event-ID", max_length=100, description="The last `id`: what came until then is left out"
    )


def add_events(app: OpenAPI, watch_book: WatchBook) -> None:
    @app.get(
        "/api/books/<book_id>/events",
        summary="A book's live documents as server-sent events",
        description=_DESCRIPTION,
        **described("text/event-stream", 404),
    )
    def stream_book_events(path: BookPath, query: EventsQuery, header: EventsHeaders) -> Response:
        seen = header.last_event_id or ""
        stream = watch_book(
            Watched(
                book_id=path.book_id,
                uid=scope(),
                seen=int(seen) if seen.isascii() and seen.isdecimal() else 0,
                chapters=query.chapters,
            )
        )
        response = Response(_lines(stream), mimetype="text/event-stream")
        response.headers["X-Accel-Buffering"] = "no"  # proxies would hold events back
        response.call_on_close(stream.close)
        return response


def _lines(stream: BookStream) -> Iterator[bytes]:
    try:
        for change in stream:
            yield _event(change)
    except Unavailable as error:
        # The headers are out: it breaks off, and the client comes again.
        log.warning("events.unavailable", error=str(error))


def _event(change: Document | Removal | StreamEnd | None) -> bytes:
    match change:
        case None:
            return b": listening\n\n"
        case Removal():
            return _with_data("removed", {"path": change.path})
        case StreamEnd():
            return _with_data("end", {"reason": change})
        case Document():
            told = {"path": change.path, "revision": change.revision, "fields": change.fields}
            is_book = change.path.count("/") == 1
            return (b"id: %d\n" % change.revision if is_book else b"") + _with_data("document", told)


def _with_data(event: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), to_json(data))
