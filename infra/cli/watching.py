"""Follows a book by its live documents."""

from __future__ import annotations

import json

from rich.live import Live

from infra.cli.client import Client, ListenFailed, follow
from infra.cli.view import LiveBook, console, errors

DONE = ("completed", "failed", "cancelled")
_SILENCE_SECONDS = 600.0


def watch_book(client: Client, book_id: str, as_json: bool = False) -> str:
    """Shows the book until it is done, and returns its last status. Raises ListenFailed."""
    shown = LiveBook()
    status = _watch(client, book_id, shown, as_json)
    if error := shown.book.get("error"):
        errors.print(f"{error['error_class']}: {error['message']}", style="red", markup=False)
    return status


def _watch(client: Client, book_id: str, shown: LiveBook, as_json: bool) -> str:
    with client.listen(book_id) as changes:
        if as_json or not console.is_terminal:
            return _print_changes(client, shown, changes, as_json)
        with Live(shown, console=console, refresh_per_second=12):
            for path, fields in follow(changes, _SILENCE_SECONDS):
                shown.take(path, fields)
                if shown.book.get("status") in DONE and _chapters_are_in(shown):
                    return str(shown.book["status"])
    raise ListenFailed("nothing was heard of the book for ten minutes")


def _print_changes(client: Client, shown: LiveBook, changes, as_json: bool) -> str:  # type: ignore[no-untyped-def]
    last = ""
    for path, fields in follow(changes, _SILENCE_SECONDS):
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
