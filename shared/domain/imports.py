"""A request to import a manuscript, and what it came to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from shared.domain.books import Status
from shared.domain.jobs import Job


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """`book_id` or `google_doc_id` name a book to import anew; with neither, it is a new book."""

    owner_uid: str
    title: str
    content: str
    google_doc_id: str | None = None
    book_id: UUID | None = None
    force: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """`is_new` is False for a repeated request: its book, version and job are those of the first."""

    book_id: UUID
    version: int
    job: Job
    is_new: bool
    status: Status
    progress: int


def request_hash(request: ImportRequest) -> bytes:
    """The same for requests that ask for the same."""
    parts = (request.title, request.content, request.google_doc_id, request.book_id, request.force)
    return hashlib.sha256("\0".join(str(p) for p in parts).encode()).digest()
