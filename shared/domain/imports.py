"""A request to import a manuscript, and its result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.domain.books import Status
from shared.domain.jobs import Job

MAX_TITLE = 500
MAX_SOURCE_ID = 200


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """One of `book_id`, `google_doc_id` and `source_id` may name a book to import anew; the last two name a new one if
    the owner has none of that name. With none of them, it is a new book.

    Without a `title` a book keeps the one that it has; a new one takes its text's own. `allow_partial`: readers are to
    see the new version though chapters of it failed, and none of the one that they see. `readers` are all who may read
    the book beside its owner, sorted; None leaves them as they are. `trace_context` is the traceparent of the request
    itself: its first job is a part of that trace.
    """

    owner_uid: str
    title: str | None
    content: str
    google_doc_id: str | None = None
    source_id: str | None = None
    book_id: UUID | None = None
    force: bool = False
    allow_partial: bool = False
    readers: Sequence[str] | None = None
    idempotency_key: str | None = None
    trace_context: str | None = None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """`is_new` is False for an equal text: its book, version and job are those of the first request. `is_repeat`: the
    request itself came before, with the same key."""

    book_id: UUID
    version: int
    job: Job
    is_new: bool
    status: Status
    progress: int
    is_repeat: bool = False


def title_of(content: str) -> str:
    """The title that a text gives itself: its first line, if that is a Markdown heading. Else `Untitled`.

    >>> title_of("# The Binder of Saltmarsh Quay\\n\\nOnce ...")
    'The Binder of Saltmarsh Quay'
    """
    first = next((line for line in content.lstrip().splitlines()), "")
    heading = first.lstrip("#").strip() if first.startswith("#") else ""
    return heading[:MAX_TITLE].strip() or "Untitled"


def request_hash(request: ImportRequest) -> bytes:
    """The same for requests that ask for the same."""
    parts = [request.title, request.content, request.google_doc_id, request.book_id, request.force]
    # What those of before had not, is in no hash that lacks it.
    if request.allow_partial:
        parts.append("allow_partial")
    if request.source_id is not None:
        parts += ["source_id", request.source_id]
    if request.readers is not None:
        parts += ["readers", *request.readers]
    return hashlib.sha256("\0".join(str(p) for p in parts).encode()).digest()
