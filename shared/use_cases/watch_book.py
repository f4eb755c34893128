"""Follows a book's live documents for somebody who may read it, for as long as they may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Condition, Semaphore
from uuid import UUID

from shared.domain.errors import TooManyStreams, Unavailable, UnknownBook
from shared.ports import Catalogue, Document, LiveBooks, LiveChanges, Removal


class StreamEnd(StrEnum):
    """Why a stream ended: the book was deleted, its reader may not read it any more, or it was open for long enough."""

    DELETED = "deleted"
    DENIED = "denied"
    TIME = "time"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a stream shows: of which book, to whom (None: an administrator), and what of it was `seen` before."""

    book_id: UUID
    uid: str | None
    seen: int = 0
    chapters: bool = False


@dataclass(frozen=True, kw_only=True)
class WatchBook:
    """Opens streams. No more than `at_once` are open; each ends after `seconds`, and asks every `keepalive_seconds`
    whether its reader still may read."""

    live_books: LiveBooks
    catalogue: Catalogue
    at_once: int
    seconds: float
    keepalive_seconds: float
    _free: Semaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_free", Semaphore(self.at_once))

    def __call__(self, watched: Watched) -> BookStream:
        """A stream, which is to be closed. Raises UnknownBook, TooManyStreams, Unavailable."""
        if not self.catalogue.may_watch(watched.uid, watched.book_id):
            raise UnknownBook
        if not self._free.acquire(blocking=False):
            raise TooManyStreams
        try:
            return BookStream(self, watched, self._free)
        except BaseException:
            self._free.release()
            raise


class BookStream:
    """What is heard of a book until it ends. A None says only that it goes on.

    Of what came together, the book's own document is the last: whoever has seen it has seen the rest. So its revision
    stands for both of the book's documents. Those of chapters are numbered apart, and come anew in each stream. Where
    they change faster than they are read, the newest of each is kept.
    """

    def __init__(self, settings: WatchBook, watched: Watched, free: Semaphore) -> None:
        self._settings, self._watched, self._free = settings, watched, free
        self._path = f"books/{watched.book_id}"
        self._heard: dict[str, Document | Removal] = {}
        self._lost: Unavailable | None = None
        self._changed = Condition()
        self._is_open = True
        self._stop = settings.live_books.listen_to_book(
            watched.book_id, self._hear, self._lose, chapters=watched.chapters
        )

    def __iter__(self) -> Iterator[Document | Removal | StreamEnd | None]:
        """Ends with a StreamEnd; without one, if it was closed. Raises Unavailable."""
        yield None
        now = time.monotonic()
        end, check_at = now + self._settings.seconds, now + self._settings.keepalive_seconds
        while self._is_open:
            changes = self._take(min(end, check_at) - time.monotonic())
            yield from (c for c in changes if self._is_shown(c))
            now = time.monotonic()
            if now >= end:
                yield StreamEnd.TIME
                return
            if now >= check_at or Removal(path=self._path) in changes:
                if reason := self._reason_to_end():
                    yield reason
                    return
                check_at = now + self._settings.keepalive_seconds
                yield None

    def _is_shown(self, change: Document | Removal) -> bool:
        """Of the book's own documents, what was not seen. That one of them is gone is for the database to say."""
        if change.path not in (self._path, f"{self._path}/live/grid"):
            return True
        return isinstance(change, Document) and change.revision > self._watched.seen

    def _reason_to_end(self) -> StreamEnd | None:
        may_watch, book_id = self._settings.catalogue.may_watch, self._watched.book_id
        if may_watch(self._watched.uid, book_id):
            return None
        return StreamEnd.DENIED if may_watch(None, book_id) else StreamEnd.DELETED

    def _hear(self, changes: LiveChanges) -> None:
        with self._changed:
            self._heard |= {change.path: change for change in changes}
            self._changed.notify_all()

    def _lose(self, why: Unavailable) -> None:
        with self._changed:
            self._lost = why
            self._changed.notify_all()

    def _take(self, seconds: float) -> list[Document | Removal]:
        """What came, the book's own document last; nothing if nothing comes for so long. Raises Unavailable."""
        with self._changed:
            self._changed.wait_for(lambda: self._heard or self._lost or not self._is_open, max(0.0, seconds))
            if self._lost and not self._heard:
                raise self._lost
            heard, self._heard = self._heard, {}
        return sorted(heard.values(), key=lambda change: change.path, reverse=True)

    def close(self) -> None:
        """Free its place. Safe to repeat, from any thread."""
        with self._changed:
            was_open, self._is_open = self._is_open, False
            self._changed.notify_all()
        if was_open:
            self._stop()
            self._free.release()
