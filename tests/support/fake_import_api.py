"""Bindery's API as far as an import of many files asks it: a book by each source_id, done after a few questions."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import NAMESPACE_URL, uuid5

RunImport = Callable[..., tuple[int, str, str]]
"""Runs the command: its exit code, standard output and standard error."""
Answer = tuple[int, dict[str, str], Any]
"""Status, headers and body."""

NOTHING_FAILED = {"total": 1, "done": 1, "processed": 1, "embedded": 1, "failed": 0, "without_metadata": 0}


def problem(status: int, code: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"code": code, "detail": f"said of {code}"}


@dataclass
class FakeImportApi:
    """`says` are the next answers to imports, before it answers as usual. `ends` is how books of a title end, `asks` how
    often a book's status is asked until then. `most` is the most books that were under way at once."""

    says: list[Answer] = field(default_factory=list)
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    asks: int = 1
    books: dict[str, dict[str, Any]] = field(default_factory=dict)
    posted: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    most: int = 0
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def import_(self, body: dict[str, Any], key: str | None) -> Answer:
        if self.says:
            return self.says.pop(0)
        self.posted.append(body)
        self.keys.append(key)
        known = self.books.get(body["source_id"])
        if known and known["content"] == body["content"] and not body["force"]:
            return 202, {}, known | {"published": True}
        version = known["version"] + 1 if known else 1
        book = {"book_id": str(uuid5(NAMESPACE_URL, body["source_id"])), "version": version, "left": self.asks}
        book |= {"title": body.get("title"), "content": body["content"], "status": "processing"}
        book |= {"chapters": NOTHING_FAILED, "error": None}
        self.books[body["source_id"]] = book
        self.most = max(self.most, sum(b["status"] == "processing" for b in self.books.values()))
        return 202, {}, dict(book)

    def status(self, book_id: str) -> Answer:
        for book in self.books.values():
            if book["book_id"] == book_id:
                book["left"] -= 1
                if book["left"] <= 0:
                    book |= {"status": "completed"} | self.ends.get(str(book["title"]), {})
                return 200, {}, dict(book)
        return problem(404, "unknown_book")

    def answer(self, method: str, path: str, body: Any, key: str | None) -> Answer:
        parts = urlsplit(path)
        with self._lock:
            self.asked[f"{method} {parts.path}"] += 1
            if method == "POST":
                return self.import_(body, key)
            if parts.path.endswith("/status"):
                return self.status(parts.path.split("/")[3])
            named = parse_qs(parts.query).get("source_id", [""])[0]
            return 200, {}, {"books": [{}] if named in self.books else [], "next": None}


@contextmanager
def serving(api: FakeImportApi) -> Iterator[FakeImportApi]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.headers.get("Idempotency-Key")
            status, headers, value = api.answer(self.command, self.path, json.loads(sent) if sent else None, key)
            body = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


def write_books(**files: str) -> None:
    """Files in the folder `books`, by name without `.txt`."""
    Path("books").mkdir(exist_ok=True)
    for name, text in files.items():
        Path("books", f"{name}.txt").write_text(text)


def entries_of_report(report: str = "report.jsonl") -> dict[str, Any]:
    """By the files' names; there is one line of each."""
    lines = [json.loads(line) for line in Path(report).read_text().splitlines()]
    found = {Path(line["path"]).stem: line for line in lines}
    assert len(found) == len(lines)
    return found
