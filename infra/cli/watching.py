"""Follows a book by its live documents, and by the API where they are silent, so that no end is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Protocol

from rich.live import Live

from infra.cli.listeners import Change, Fields, Listener, ListenFailed
from infra.cli.view import LiveBook, cause_of, console, count_chapters, errors, is_book

DONE = ("completed", "failed", "cancelled")
# A listener that died, or lost a change, looks like a book on which nothing happens.
_ASK_AFTER_SECONDS = 5.0
_SILENCE_SECONDS = 600.0
_LISTENERS_WITHOUT_A_CHANGE = 3


class Source(Protocol):
    """What a book is followed by: infra.cli.client.Client."""

    def get(self, path: str, **query: Any) -> Any: ...

    def listen(self, book_id: str) -> Listener: ...


def watch_book(source: Source, book_id: str, as_json: bool = False) -> str:
    """Show the book until it is done, and return its last status. Raises ApiError, ListenFailed, Unwatchable."""
    shown = LiveBook()
    if as_json or not console.is_terminal:
        _print_changes(source, book_id, shown, as_json)
    else:
        with Live(shown, console=console, refresh_per_second=12):
            for path, fields in follow_book(source, book_id):
                shown.take(path, fields)
                if shown.book.get("status") in DONE and _chapters_are_in(shown):
                    break
    if shown.book["status"] == "completed" and not as_json:
        console.print(count_chapters(shown.book["chapters"]), highlight=False)
    # Live documents tell nothing technical; the API tells it to administrators.
    if shown.book.get("error") and (error := source.get(f"/api/books/{book_id}/status")["error"]):
        errors.print(cause_of(error), style="red", markup=False)
    return str(shown.book["status"])


def await_book(source: Source, book_id: str) -> str:
    """Wait until the book is done, and return its last status."""
    return next(str(f["status"]) for path, f in follow_book(source, book_id) if _is_end(path, f))


def follow_book(source: Source, book_id: str, ask_after: float = _ASK_AFTER_SECONDS) -> Iterator[Change]:
    """Each change of the book's live documents. Where none came for `ask_after` seconds, or the listener ended, the API
    is asked: an end that the listener missed comes from there, and is the last change. Another listener takes the place
    of one that ended.

    Raises ListenFailed if nothing is heard of the book for ten minutes, or three listeners end without a change.
    """
    known: Fields = {"title": "", "chunks": 0}
    failures = 0
    heard = time.monotonic()
    while True:
        try:
            with source.listen(book_id) as listener:
                while time.monotonic() - heard < _SILENCE_SECONDS:
                    for path, fields in listener.follow(ask_after):
                        heard, failures = time.monotonic(), 0
                        known = fields if is_book(path) else known
                        yield path, fields
                    if end := _end_by_api(source, book_id, known):
                        yield end
                        return
                raise ListenFailed("nothing was heard of the book for ten minutes")
        except ListenFailed:
            if end := _end_by_api(source, book_id, known):
                yield end
                return
            failures += 1
            if failures >= _LISTENERS_WITHOUT_A_CHANGE or time.monotonic() - heard >= _SILENCE_SECONDS:
                raise


def _end_by_api(source: Source, book_id: str, known: Fields) -> Change | None:
    """The book's document as the API tells it, if it is done by that."""
    told = source.get(f"/api/books/{book_id}/status")
    path = f"books/{book_id}"
    return (path, {**known, **told}) if _is_end(path, told) else None


def _is_end(path: str, fields: Fields) -> bool:
    return is_book(path) and fields["status"] in DONE


def _print_changes(source: Source, book_id: str, shown: LiveBook, as_json: bool) -> None:
    last = ""
    for path, fields in follow_book(source, book_id):
        shown.take(path, fields)
        if as_json:
            print(json.dumps({"path": path, **fields}, default=str), flush=True)
        elif (line := f"{shown.book.get('progress', 0):>3} %  {shown.book.get('phase', '')}") != last:
            print(line, flush=True)
            last = line
        if shown.book.get("status") in DONE:
            return


def _chapters_are_in(shown: LiveBook) -> bool:
    """Whether the marks of all chapters say that they are done: a listener may hear of the book before its last one."""
    total = shown.book["chapters"]["total"]
    done = sum(status in DONE for status in shown.chapters)
    return bool(shown.book["status"] != "completed" or done >= total)
