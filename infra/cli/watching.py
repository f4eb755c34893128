"""Follows a book by its live documents."""

from __future__ import annotations

import json

from rich.live import Live

from infra.cli.client import Client
from infra.cli.listeners import Listener, ListenFailed
from infra.cli.view import LiveBook, console, errors

DONE = ("completed", "failed", "cancelled")
_SILENCE_SECONDS = 600.0


def watch_book(client: Client, book_id: str, as_json: bool = False) -> str:
    """Shows the book until it is done, and returns its last status. Raises ApiError, ListenFailed, Unwatchable."""
    shown = LiveBook()
    status = _watch(client, book_id, shown, as_json)
    if error := shown.book.get("error"):
        errors.print(f"{error['error_class']}: {error['message']}", style="red", markup=False)
    return status


def await_book(client: Client, book_id: str) -> str:
    """The same, without a word."""
    with client.listen(book_id) as listener:
        for path, fields in listener.follow(_SILENCE_SECONDS):
            if "/chapters/" not in path and fields["status"] in DONE:
                return str(fields["status"])
    raise ListenFailed("nothing was heard of the book for ten minutes")


def _watch(client: Client, book_id: str, shown: LiveBook, as_json: bool) -> str:
    with client.listen(book_id) as listener:
        if as_json or not console.is_terminal:
            return _print_changes(shown, listener, as_json)
        with Live(shown, console=console, refresh_per_second=12):
            for path, fields in listener.follow(_SILENCE_SECONDS):
                shown.take(path, fields)
                if shown.book.get("status") in DONE and _chapters_are_in(shown):
                    return str(shown.book["status"])
    raise ListenFailed("nothing was heard of the book for ten minutes")


def _print_changes(shown: LiveBook, listener: Listener, as_json: bool) -> str:
    last = ""
    for path, fields in listener.follow(_SILENCE_SECONDS):
        shown.take(path, fields)
        if as_json:
            print(json.dumps({"path": path, **fields}, default=str), flush=True)
        elif (line := f"{shown.book.get('progress', 0):>3} %  {shown.book.get('phase', '')}") != last:
            print(line, flush=True)
            last = line
        if shown.book.get("status") in DONE:
            return str(shown.book["status"])
    raise ListenFailed("nothing was heard of the book for ten minutes")


def _chapters_are_in(shown: LiveBook) -> bool:
    """A listener may hear of the book before its last chapter."""
    total = shown.book["chapters"]["total"]
    done = sum(s in DONE for s in shown.chapters.values())
    return bool(shown.book["status"] != "completed" or done >= total)
