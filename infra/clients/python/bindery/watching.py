"""What a client makes of a book's server-sent events, whatever it reads them with."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx2

State = Literal["loading", "live", "offline", "done", "denied", "deleted"]
Fields = Mapping[str, Any]

_ENDS = ("done", "denied", "deleted")
_SILENCE = httpx2.Timeout(10, read=45)  # the server says a word every 15 s
_LONGEST_PAUSE = 15.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A book as it was last heard of. `book`, `grid` and `chapters` (by number) are the fields of its live documents.

    `state` is `loading` before anything is known; `live` while it is made; `offline` while the connection is lost;
    and at the end `done` (`book["status"]` says how), `denied` (there is no such book for this caller, or not any more)
    or `deleted`.
    """

    state: State = "loading"
    book: Fields | None = None
    grid: Fields | None = None
    chapters: Mapping[int, Fields] = field(default_factory=dict)


class Watch:
    """What both clients do alike with a stream: `seen` follows from what is heard. `pause` is until the next stream."""

    def __init__(self, book_id: str, version: int, chapters: bool) -> None:
        self.path, self._version = f"/api/books/{book_id}/events", version
        self.seen, self.pause = Seen(), 0.0
        self._params = {"chapters": str(chapters).lower()}
        self._last_id, self._failures, self._was_ended, self._is_new = "", 0, False, True

    @property
    def is_over(self) -> bool:
        return self.seen.state in _ENDS

    def next_request(self) -> dict[str, Any]:
        """Options of the next stream's request."""
        self.pause = 0.0
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return {"params": self._params, "headers": headers, "timeout": _SILENCE}

    def open(self, response: httpx2.Response) -> bool:
        """Whether the state changed. Raises httpx2.TransportError if there is nothing to hear."""
        if response.status_code in (401, 403, 404):
            return self._become("denied")
        if not response.is_success:
            self.pause = retry_after(response) or 0.0
            raise httpx2.ReadError(f"{response.status_code}")
        self._failures, self._was_ended, self._is_new = 0, False, True
        return self._become("live" if self.seen.book else "loading")

    def lose(self) -> bool:
        """Of a httpx2.TransportError: whether the state changed."""
        self._failures += 1
        longest = min(_LONGEST_PAUSE, 0.5 * 2**self._failures)
        self.pause = max(self.pause, random.uniform(0.5, 1) * longest)
        return self._become("offline")

    def close(self) -> None:
        """Raises httpx2.TransportError if the stream broke off."""
        if not (self._was_ended or self.is_over):
            raise httpx2.ReadError("the stream broke off")

    def hear(self, event: httpx2.ServerSentEvent) -> bool:
        """Whether there is something to show."""
        told: Any = event.json()
        match event.event, told:
            case "document", {"path": path, "fields": fields}:
                return self._take(path.split("/")[2:], fields, event.id)
            case "removed", {"path": path}:
                kept = {n: c for n, c in self.seen.chapters.items() if n != int(path.rpartition("/")[2])}
                self.seen = replace(self.seen, chapters=kept)
                return True
            case "end", {"reason": "deleted" | "denied" as reason}:
                return self._become(reason)
            case "end", _:
                self._was_ended = True  # it was open for long enough
        return False

    def _take(self, place: list[str], fields: Fields, last_id: str) -> bool:
        match place:
            case []:
                is_done = fields["status"] in ("completed", "failed", "cancelled")
                is_done = is_done and fields["version"] >= self._version
                self.seen = replace(self.seen, book=fields, state="done" if is_done else "live")
                self._last_id = last_id
            case ["live", "grid"]:
                self.seen = replace(self.seen, grid=fields)
            case ["chapters", number]:
                others = {} if self._is_new else self.seen.chapters  # each stream begins with all
                self._is_new = False
                self.seen = replace(self.seen, chapters={**others, int(number): fields})
        return True

    def _become(self, state: State) -> bool:
        changed = self.seen.state != state
        self.seen = replace(self.seen, state=state)
        return changed


def retry_after(response: httpx2.Response) -> float | None:
    """The seconds that an answer asks to wait, if it does."""
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else None
