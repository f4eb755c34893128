"""The main job on a sample: import, watch, summary, chapters, search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from infra.cli import view
from infra.cli.client import Client
from infra.cli.command_name import BINDERY
from infra.cli.watching import await_book, watch_book

SAMPLE = Path(__file__).resolve().parents[1] / "local" / "sample.md"
SAMPLE_QUERY = "a promise broken for the sake of a friend"


def run_demo(client: Client, content: str | None, title: str | None, query: str | None, quiet: bool) -> dict[str, Any]:
    """Runs it, and returns what `demo --json` prints. Raises ApiError, ListenFailed, Unwatchable."""
    text = content if content is not None else SAMPLE.read_text("utf-8")
    book_title = title or text.splitlines()[0].lstrip("# ").strip()
    started = time.monotonic()
    body = {"title": book_title, "content": text}
    book_id = client.post("/api/books/import", body)["book_id"]
    status = await_book(client, book_id) if quiet else watch_book(client, book_id)
    seconds = round(time.monotonic() - started, 2)
    book = client.get(f"/api/books/{book_id}")
    chapters = client.get(f"/api/books/{book_id}/chapters")["chapters"]
    asked = query or (SAMPLE_QUERY if content is None else (book["context"] or {}).get("summary", book_title)[:80])
    found = client.get("/api/search", q=asked, book_id=book_id, k=3)
    if not quiet:
        _show(book, chapters, found, seconds)
    return {
        "book_id": book_id,
        "status": status,
        "backend": "emulators" if "GOOGLE_CLOUD_PROJECT" in client.environment else "embedded",
        "seconds": seconds,
        "chapters": [{"number": c["number"], "title": c["title"], "words": c["word_count"]} for c in chapters],
        "summary": (book["context"] or {}).get("summary"),
        "search": {"query": asked, "results": found["results"]},
    }


def _show(book: Any, chapters: Any, found: Any, seconds: float) -> None:
    view.show_book(book)
    view.show_chapters(chapters)
    view.show_results(found)
    view.console.print(
        f"\n[green]Done[/] in {seconds:.1f} s. The summary is made of the book's own sentences: no local model writes."
        f"\n\nGo on: [bold]{BINDERY} demo YOUR-BOOK.txt --query 'what you look for'[/], or [bold]{BINDERY} dev[/] and,"
        f" in another terminal,\n[bold]{BINDERY} import YOUR-BOOK.txt --watch[/] and"
        f" [bold]{BINDERY} search 'what you look for'[/]."
    )
