"""Those who import books and manage them: each request is sent until it is answered, and several may be under way."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.real.task import Task
from tests.simulation.real.texts import draw_texts

if TYPE_CHECKING:
    from tests.simulation.real.simulation import RealSimulation


@dataclass(eq=False, kw_only=True)
class Request:
    """`proper` are the answers that may come, besides 503; after `again` it is sent once more, later."""

    name: str
    user: str
    method: str
    path: str
    proper: Collection[int]
    again: Collection[int] = ()
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    on_answer: Callable[[Any], None] = lambda reply: None
    under_way: bool = False
    not_before: datetime | None = None

    def may_be_sent(self, now: datetime) -> bool:
        return not self.under_way and (self.not_before is None or self.not_before <= now)

    def send(self, sim: RealSimulation) -> None:
        self.under_way = True
        http = sim.api.app.api.test_client()
        headers = {"Authorization": f"Bearer {self.user}", **self.headers}
        task = sim.spawn(
            f"{self.name} {self.method} {self.path}",
            sim.api,
            lambda: http.open(self.path, method=self.method, json=self.body, headers=headers),
        )
        task.on_end = lambda ended: self._answered(sim, ended)

    def _answered(self, sim: RealSimulation, task: Task) -> None:
        self.under_way = False
        if task.error is not None or task.outcome.status_code in (503, *self.again):
            self.not_before = sim.clock() + timedelta(seconds=5)
            return
        sim.requests.remove(self)
        if task.outcome.status_code not in self.proper:
            what = f"{self.name} {self.method} {self.path}: {task.outcome.status_code} {task.outcome.text[:200]}"
            sim.unexpected.append(what)
        self.on_answer(task.outcome)


@dataclass(eq=False, kw_only=True)
class Client:
    """The owner of one book. `cancelled`: it was cancelled by its owner, who will resume it in the end."""

    name: str
    user: str
    texts: list[str]
    has_document: bool
    sent: int = 0
    keys: int = 0
    book_id: str | None = None
    last: Request | None = None

    @property
    def has_more(self) -> bool:
        return self.sent < len(self.texts)

    def import_next(self, sim: RealSimulation) -> None:
        """Maybe while the request before is under way."""
        self.import_text(sim, self.texts[self.sent], force=False)
        self.sent += 1

    def force(self, sim: RealSimulation) -> None:
        self.import_text(sim, self.texts[self.sent - 1], force=True)

    def import_again(self, sim: RealSimulation) -> None:
        """The very same request."""
        assert self.last is not None
        if self.last not in sim.requests:
            sim.ask(self.last)

    def control(self, sim: RealSimulation, what: str, book_id: str | None = None) -> None:
        """Cancel or resume; this book, or another of the same owner."""
        path = f"/api/books/{book_id or self.book_id}/{what}"
        sim.ask(Request(name=self.name, user=self.user, method="POST", path=path, proper=(200, 404, 409)))

    def delete(self, sim: RealSimulation) -> None:
        """Imports of the book may be under way."""
        path, book_id = f"/api/books/{self.book_id}", self.book_id

        def forget(reply: Any) -> None:
            if self.book_id == book_id:
                self.book_id = None

        request = Request(
            name=self.name, user=self.user, method="DELETE", path=path, proper=(204, 404), on_answer=forget
        )
        sim.ask(request)

    def look(self, sim: RealSimulation, rng: random.Random) -> None:
        """Read what there is of the book, or search all that the owner has."""
        proper: Collection[int]
        if self.book_id and rng.random() < 0.5:
            path, proper = f"/api/books/{self.book_id}{rng.choice(['', '/status', '/chapters'])}", (200, 404)
        else:
            path, proper = "/api/search?q=harbour%20lantern", (200,)

        def see(reply: Any) -> None:
            found = {p["book_id"] for p in reply.json.get("results", [])}
            if strange := [b for b in found if sim.ledger.owners[b] != self.user]:
                sim.unexpected.append(f"{self.user} found passages of {strange}")

        sim.ask(Request(name=self.name, user=self.user, method="GET", path=path, proper=proper, on_answer=see))

    def import_text(self, sim: RealSimulation, text: str, *, force: bool) -> None:
        body: dict[str, Any] = {"title": f"Book of {self.name}", "content": text, "force": force}
        headers = {}
        if self.book_id and sim.rng.random() < 0.5:
            body["book_id"] = self.book_id
        elif self.has_document:
            body["google_doc_id"] = f"doc-{self.name}"
        elif self.book_id:
            body["book_id"] = self.book_id
        else:
            self.keys += 1
            headers["Idempotency-Key"] = f"key-{self.name}-{self.keys}"
        self.last = Request(
            name=self.name,
            user=self.user,
            method="POST",
            path="/api/books/import",
            body=body,
            headers=headers,
            proper=(202, 404) if "book_id" in body else (202,),
            again=(429,),
            on_answer=self._imported,
        )
        sim.ask(self.last)

    def _imported(self, reply: Any) -> None:
        if reply.status_code == 202:
            self.book_id = reply.json["book_id"]


def draw_clients(rng: random.Random) -> list[Client]:
    """Two owners, whose books have chapters in common."""
    users = rng.choice([["ann"], ["ann", "ann"], ["ann", "ben"], ["ann", "ann", "ben"], ["ann", "ben", "ben"]])
    return [
        Client(
            name=f"c{n}",
            user=user,
            texts=draw_texts(rng, rng.choice(["", "", user])),
            has_document=rng.random() < 0.6,
        )
        for n, user in enumerate(users, 1)
    ]
