"""Imports many manuscripts, some at a time, and follows each to its end."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import Queue
from typing import Any
from uuid import uuid4

from infra.cli.client import ApiError, Client
from infra.cli.import_report import Entry, Outcome
from infra.cli.import_sources import Sources, source_id_of
from infra.cli.manuscript import Unreadable, decode_manuscript, note_on_encoding, read_bytes, title_of
from infra.cli.watching import DONE
from shared.domain.errors import EmptyManuscript
from shared.domain.splitting.words import has_word

_FIRST_PAUSE_SECONDS, _PAUSE_GROWS, _LONGEST_PAUSE_SECONDS = 0.2, 1.5, 5.0

_REJECTED = (400, 413, 415, 422)
_OF_ALL_FILES = (0, 401, 403, 502, 503, 504)
"""What the API says whatever file is sent: that the caller may not, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Manuscript:
    """A file that was read. `source_id` is its owner's name for it."""

    path: str
    sha256: str
    source_id: str
    content: str


def title_if_new(client: Client, source_id: str, path: str, content: str) -> str | None:
    """A title for a manuscript that is new to the API; a book that it has keeps its own. Raises ApiError."""
    has_it = client.get("/api/books", source_id=source_id, limit=1)["books"]
    return None if has_it else title_of(path, content)


@dataclass(frozen=True, kw_only=True)
class BulkImport:
    """`body` is what all imports have in common. `jobs` books are under way at once, and no more. `known` is what an
    earlier run reported, by path: what is done and has not changed since is left alone. `say` is told what people
    should know besides.
    """

    client: Client
    body: Mapping[str, Any]
    source_id: str
    encoding: str | None
    jobs: int
    known: Mapping[str, Entry]
    say: Callable[[str], None]

    def run(self, paths: Sequence[str]) -> Iterator[Entry]:
        """An entry for each path, as soon as it is known: those that are known already, too.

        Raises ApiError if the API refuses all of them, or does not answer any more.
        """
        tasks: Queue[Manuscript] = Queue()
        ended: Queue[Entry | BaseException] = Queue()
        for _ in range(min(self.jobs, len(paths))):
            # They end with the process: who waits for a book or an answer holds up no Ctrl-C.
            threading.Thread(target=self._work, args=(tasks, ended), name="import", daemon=True).start()
        sources = Sources()
        under_way = 0
        for path in paths:
            taken = self._take(path, sources)
            if isinstance(taken, Entry):
                yield taken
            elif taken is not None:
                tasks.put(taken)
                under_way += 1
            if under_way == self.jobs:
                yield from sources.entries_of(_result(ended))
                under_way -= 1
        for _ in range(under_way):
            yield from sources.entries_of(_result(ended))

    def _take(self, path: str, sources: Sources) -> Entry | Manuscript | None:
        """What is known of a file before it is sent; or what is to be sent; None if its entry comes with another's."""
        try:
            raw = read_bytes(path)
        except Unreadable as error:
            return Entry(path=path, outcome=Outcome.FAILED, error=_error(error.code, error))
        sha256 = hashlib.sha256(raw).hexdigest()
        source_id = source_id_of(self.source_id, path, sha256)
        entry = Entry(path=path, sha256=sha256, source_id=source_id, outcome=Outcome.REJECTED)
        known = self.known.get(path)
        if known and known.is_done and known.sha256 == sha256:
            return sources.add_known(known)
        try:
            content = self._text(path, raw)
        except Unreadable as error:
            return replace(entry, error=_error(error.code, error))
        if first := sources.first(source_id):
            if first.sha256 != sha256:
                message = f"{path} would have the same source_id as {first.path}, which has another text"
                return replace(entry, error=_error("source_id_taken", message))
            return sources.add_duplicate(entry)
        sources.add(entry)
        return Manuscript(path=path, sha256=sha256, source_id=source_id, content=content)

    def _text(self, path: str, raw: bytes) -> str:
        decoded = decode_manuscript(raw, path, self.encoding)
        if not has_word(decoded.text):
            raise Unreadable("empty_manuscript", str(EmptyManuscript()))
        if note := note_on_encoding(path, decoded, self.encoding):
            self.say(note)
        return decoded.text

    def _work(self, tasks: Queue[Manuscript], ended: Queue[Entry | BaseException]) -> None:
        while True:
            manuscript = tasks.get()
            try:
                ended.put(self._import(manuscript))
            except BaseException as error:
                ended.put(error)

    def _import(self, manuscript: Manuscript) -> Entry:
        began = time.monotonic()
        book: dict[str, Any] = {
            "path": manuscript.path,
            "sha256": manuscript.sha256,
            "source_id": manuscript.source_id,
        }
        try:
            reply = self._post(manuscript)
            book |= {"book_id": reply["book_id"], "version": reply["version"]}
            told = _told(reply, self._end_of(reply["book_id"]))
        except ApiError as error:
            if error.status in _OF_ALL_FILES:
                raise
            told = {"outcome": Outcome.REJECTED if error.status in _REJECTED else Outcome.FAILED}
            told["error"] = _error(error.code or "unexpected", error)
        return Entry(**book | told, seconds=round(time.monotonic() - began, 2))

    def _post(self, manuscript: Manuscript) -> Any:
        body = {**self.body, "content": manuscript.content, "source_id": manuscript.source_id}
        if title := title_if_new(self.client, manuscript.source_id, manuscript.path, manuscript.content):
            body["title"] = title
        # A name makes it the same import however often it is sent; but one that is forced pays anew.
        headers = {"Idempotency-Key": str(uuid4())} if body["force"] else None
        return self.client.post("/api/books/import", body, headers)

    def _end_of(self, book_id: str) -> Any:
        """Its status when nobody works on it any more. By the API, which needs no listener for each book."""
        pause = _FIRST_PAUSE_SECONDS
        while (status := self.client.get(f"/api/books/{book_id}/status"))["status"] not in DONE:
            time.sleep(pause)
            pause = min(pause * _PAUSE_GROWS, _LONGEST_PAUSE_SECONDS)
        return status


def _result(ended: Queue[Entry | BaseException]) -> Entry:
    result = ended.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _told(reply: Any, status: Any) -> dict[str, Any]:
    """What became of a book, by the answer to its import and its last status."""
    chapters, end = status["chapters"], status["status"]
    told: dict[str, Any] = {"version": status["version"], "chapters": chapters}
    if end == "completed":
        is_new = reply["status"] != "completed"
        whole = Outcome.COMPLETED if is_new else Outcome.UNCHANGED
        return told | {"outcome": Outcome.COMPLETED_WITH_FAILURES if chapters["failed"] else whole}
    known = status["error"] or {"code": end, "message": f"the book is {end}"}
    return told | {"outcome": Outcome(end), "error": _error(known["code"], known["message"])}


def _error(code: str, message: object) -> dict[str, str]:
    return {"code": code, "message": str(message)}
