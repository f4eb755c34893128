"""Those who import books: each sends its texts one after the other, and every request until it is answered."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.profile import draw_texts
from tests.simulation.tasks import Task

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


@dataclass(eq=False, kw_only=True)
class Client:
    """`wants` is the request that is not answered yet. A client without a document id sends a key, then the book's id."""

    name: str
    user: str
    texts: list[str]
    has_document: bool
    sent: int = 0
    book_id: str | None = None
    wants: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    under_way: int = 0
    deleting: bool = False
    # Whether the owner was told that all work has ended, and what may have set it going again since.
    cancelled: bool = False
    moves: int = 0
    moving: int = 0
    unexpected: list[str] = field(default_factory=list)

    @property
    def has_more(self) -> bool:
        return self.wants is None and not self.deleting and self.sent < len(self.texts)

    @property
    def may_force(self) -> bool:
        return self.book_id is not None and not self.wants and not self.deleting and self.sent > 0

    def move(self) -> None:
        """Something begins that may end a cancellation. Whoever calls this lowers `moving` when it has ended."""
        self.cancelled = False
        self.moves += 1
        self.moving += 1

    def forget_book(self, *, again: bool) -> None:
        """The book is deleted. `again`: the text that was sent last is to be sent once more."""
        self.book_id = self.last = None
        self.deleting = self.cancelled = False
        if again:
            self.sent = max(0, self.sent - 1)

    def import_next(self, sim: Simulation) -> None:
        self.wants = self._request(self.texts[self.sent], force=False)
        self.sent += 1
        self._send(sim, self.wants)

    def import_again(self, sim: Simulation) -> None:
        """The very same request once more, maybe while the first is under way."""
        assert self.last is not None
        self._send(sim, self.last)

    def force(self, sim: Simulation) -> None:
        self.wants = self._request(self.texts[self.sent - 1], force=True)
        self._send(sim, self.wants)

    def retry(self, sim: Simulation) -> None:
        if self.wants is not None and not self.under_way:
            self._send(sim, self.wants)

    def _request(self, text: str, *, force: bool) -> dict[str, Any]:
        body: dict[str, Any] = {"title": f"Book of {self.name}", "content": text, "force": force}
        if self.has_document:
            return body | {"google_doc_id": f"doc-{self.name}"}
        return body | {"book_id": self.book_id} if self.book_id else body

    def _send(self, sim: Simulation, body: dict[str, Any]) -> None:
        self.last = body
        self.under_way += 1
        self.move()
        headers = {"Authorization": f"Bearer {self.user}"}
        if not self.has_document and "book_id" not in body:
            headers["Idempotency-Key"] = f"key-{self.name}"
        http = sim.world.api.app.api.test_client()
        task = sim.spawn(
            f"{self.name} imports text {self.sent}{' with force' if body['force'] else ''}",
            sim.world.api,
            lambda: http.post("/api/books/import", json=body, headers=headers),
        )
        task.on_end = lambda ended: self._answered(body, ended)

    def _answered(self, body: dict[str, Any], task: Task) -> None:
        self.under_way -= 1
        self.moving -= 1
        if task.error is not None:
            return
        if task.outcome.status_code == 202:
            self.book_id = task.outcome.json["book_id"]
            if self.wants is body:
                self.wants = None
        elif task.outcome.status_code != 503:
            self.unexpected.append(f"{task.outcome.status_code} {task.outcome.text[:200]}")


def draw_clients(rng: random.Random) -> list[Client]:
    """The first two are one user's, the third another's: their books have texts in common."""
    return [
        Client(name=f"c{n}", user="ben" if n == 3 else "ann", texts=draw_texts(rng), has_document=rng.random() < 0.7)
        for n in range(1, rng.choice([1, 1, 2, 2, 3]) + 1)
    ]
