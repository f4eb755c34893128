"""What owners and operators do with books that are there: each request is sent until it is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.domain.stages import JOB_TYPES
from tests.simulation.actions import action, room
from tests.simulation.clients import Client
from tests.simulation.tasks import Task

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_REPLAYED = list(JOB_TYPES)

_HOW: list[dict[str, Any]] = [{}, {"canary": True}, {"per_minute": 1}, {"canary": True, "per_minute": 1}]


@dataclass(eq=False, kw_only=True)
class Request:
    """`proper` are the answers that may come, besides 503. `moves`: it may set a cancelled book going again."""

    method: str
    path: str
    proper: Iterable[int]
    client: Client | None = None
    body: Any = None
    user: str = "ann"
    moves: bool = False
    on_answer: Callable[[Any], None] = lambda reply: None
    under_way: bool = False

    def send(self, sim: Simulation) -> None:
        if self.under_way:
            return
        self.under_way = True
        still = self._prepare()
        http = sim.world.api.app.api.test_client()
        headers = {"Authorization": f"Bearer {self.user}"}
        task = sim.spawn(
            f"{self.user} sends {self.method} {self.path} {self.body or ''}".rstrip(),
            sim.world.api,
            lambda: http.open(self.path, method=self.method, json=self.body, headers=headers),
        )
        task.on_end = lambda ended: self._answered(sim, ended, still)

    def _prepare(self) -> int | None:
        """What to compare with when the answer is there; None if the book may be moved by something else already."""
        if self.client is None:
            return None
        if self.moves:
            self.client.move()
            return None
        return None if self.client.moving else self.client.moves

    def _answered(self, sim: Simulation, task: Task, still: int | None) -> None:
        self.under_way = False
        if self.client and self.moves:
            self.client.moving -= 1
        if task.error is not None or task.outcome.status_code == 503:
            return
        reply = task.outcome
        sim.requests.remove(self)
        if reply.status_code not in self.proper:
            sim.unexpected.append(f"{self.method} {self.path}: {reply.status_code} {reply.text[:200]}")
        if self.client and still == self.client.moves and self.path.endswith("/cancel") and reply.status_code == 200:
            self.client.cancelled = True
            if reply.json["status"] != "cancelled":
                sim.unexpected.append(f"{self.path} answered that the book is {reply.json['status']}")
        self.on_answer(reply)


def ask(sim: Simulation, request: Request) -> None:
    sim.requests.append(request)
    request.send(sim)


def _owned(sim: Simulation) -> list[Client]:
    return [c for c in sim.clients if c.book_id and not c.deleting]


def control(sim: Simulation, client: Client, what: str) -> None:
    """Cancel, resume or retry."""
    path, moves = f"/api/books/{client.book_id}/{what}", what == "resume"
    proper = (200, 404, 409)
    ask(sim, Request(method="POST", path=path, proper=proper, client=client, user=client.user, moves=moves))


def redrive_all(sim: Simulation, **how: Any) -> None:
    request = Request(
        method="POST",
        path="/api/dead-letters/redrive",
        proper=[200],
        user="root",
        body={"all": True} | how,
        on_answer=lambda reply: sim.batches.append(reply.json["batch_id"]),
    )
    ask(sim, request)


@action(lambda sim: sim.world.profile.cancels if room(sim) and _owned(sim) else 0.0)
def cancel(sim: Simulation) -> None:
    control(sim, sim.rng.choice(_owned(sim)), "cancel")


@action(lambda sim: sim.world.profile.cancels if room(sim) and _owned(sim) else 0.0)
def resume(sim: Simulation) -> None:
    """Rather those that stand still."""
    still = [c for c in _owned(sim) if c.cancelled]
    control(sim, sim.rng.choice(still or _owned(sim)), "resume")


@action(lambda sim: sim.world.profile.redrives / 2 if room(sim) and _owned(sim) else 0.0)
def retry(sim: Simulation) -> None:
    control(sim, sim.rng.choice(_owned(sim)), "retry")


def _deletable(sim: Simulation) -> list[Client]:
    return [c for c in _owned(sim) if not c.wants and not c.under_way]


@action(lambda sim: sim.world.profile.deletes if room(sim) and _deletable(sim) else 0.0)
def delete(sim: Simulation) -> None:
    """Its owner imports nothing until it is answered; then maybe the next text, or the last one again."""
    client = sim.rng.choice(_deletable(sim))
    client.deleting = True
    again = sim.rng.random() < 0.5
    request = Request(
        method="DELETE",
        path=f"/api/books/{client.book_id}",
        proper=(204, 404),
        client=client,
        user=client.user,
        moves=True,
        on_answer=lambda reply: client.forget_book(again=again),
    )
    ask(sim, request)


@action(lambda sim: sim.world.profile.redrives if room(sim) and sim.clients else 0.0)
def redrive(sim: Simulation) -> None:
    redrive_all(sim, **sim.rng.choice(_HOW))


@action(lambda sim: sim.world.profile.redrives / 2 if room(sim) and sim.batches else 0.0)
def stop_a_redrive(sim: Simulation) -> None:
    """One of which nothing was accepted, or whose books were deleted, is not known."""
    path = f"/api/dead-letters/redrives/{sim.rng.choice(sim.batches)}/stop"
    ask(sim, Request(method="POST", path=path, proper=(200, 404), user="root"))


@action(lambda sim: sim.world.profile.replays if room(sim) and _owned(sim) else 0.0)
def replay(sim: Simulation) -> None:
    body = {"stage": sim.rng.choice(_REPLAYED), "book_id": sim.rng.choice(_owned(sim)).book_id}
    ask(sim, Request(method="POST", path="/api/replays", proper=(202, 404, 409), user="root", body=body))


@action(lambda sim: sim.world.profile.projections if room(sim) and _owned(sim) else 0.0)
def project_again(sim: Simulation) -> None:
    """Of one book, or of all since all live documents are lost."""
    body: dict[str, Any] = {"book_id": sim.rng.choice(_owned(sim)).book_id}
    if sim.rng.random() < 0.3:
        body = {}
        sim.count("live documents lost")
        sim.note("FAULT all live documents are lost")
        sim.world.live_documents.lose_all()
    ask(sim, Request(method="POST", path="/api/projections", proper=(202, 404), user="root", body=body))


@action(lambda sim: sim.world.profile.projections if room(sim) and sim.clients else 0.0)
def project_next(sim: Simulation) -> None:
    ask(sim, Request(method="POST", path="/api/projections/next", proper=[200], user="root"))


@action(lambda sim: 0.5 if room(sim) and any(not r.under_way for r in sim.requests) else 0.0)
def ask_again(sim: Simulation) -> None:
    sim.rng.choice([r for r in sim.requests if not r.under_way]).send(sim)
