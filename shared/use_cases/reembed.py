"""Moves books to the embedding model that is asked now: each as a new version of its text, built aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from shared.domain.embeddings import ModelKey
from shared.domain.jobs import Job
from shared.domain.reembeddings import Books, Cost, cost_of_book
from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, Embedder, OutdatedBooks, Reembeddings

log = structlog.get_logger()

# What an estimate reads: some seconds of work at most, however many books there are.
SAMPLED_BOOKS, SAMPLED_CHARACTERS = 100, 3_000_000
# Of books that wait for a model that is gone, in one run.
MAX_BEGUN_ANEW = 200
MAX_WISHES = 10


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What it takes to move `books` to `model`, at most: vectors that are there already cost nothing. `leaving` are the
    models that their readers see now, with `name`, `version` and `books` of each.

    `cost` is counted if all books were read, else (`is_extrapolated`) reckoned from some of them by characters.
    `generating_requests` ask for metadata that failed before.
    """

    model: ModelKey
    leaving: Sequence[Mapping[str, Any]]
    books: int
    chapters: int
    cost: Cost
    is_extrapolated: bool
    generating_requests: int


@dataclass(frozen=True, kw_only=True)
class Reembed:
    """`at_once` is how many books may be under way. All raise Unavailable."""

    outdated: OutdatedBooks
    reembeddings: Reembeddings
    embedder: Embedder
    outbox: Outbox
    projector: Projector
    clock: Clock
    new_id: Callable[[], UUID]
    at_once: int

    def estimate(self, books: Books) -> Estimate:
        """Say what it takes to move those of the books that are due."""
        model = self.embedder.model
        by_model = self.outdated.by_model(books, model.key)
        sample = self.outdated.some_texts(books, model.key, SAMPLED_BOOKS, SAMPLED_CHARACTERS)
        count, characters = _sum(by_model, "books"), _sum(by_model, "characters")
        cost = sum((cost_of_book(chapters, model) for chapters in sample), Cost())
        is_extrapolated = len(sample) < count
        if is_extrapolated and sample:
            cost = cost.times(characters / sum(len(text) for chapters in sample for text in chapters))
        return Estimate(
            model=model.key,
            leaving=by_model,
            books=count,
            chapters=_sum(by_model, "chapters"),
            cost=cost,
            is_extrapolated=is_extrapolated,
            generating_requests=_sum(by_model, "unread") + _sum(by_model, "books_with_unread"),
        )

    def begin(self, books: Books, requested_by: str) -> UUID:
        """Keep the wish to move those of the books that are due, begin the first, and return the wish's id."""
        model = self.embedder.model.key
        wish = self.reembeddings.add(books, model, requested_by, self.new_id(), self.clock())
        log.info("reembed.requested", reembedding_id=str(wish), model=str(model))
        self.next()
        return wish

    def next(self) -> int:
        """Begin as many books as may be under way, and return how many that were. Safe to call twice at once."""
        model = self.embedder.model.key
        begun = self.reembeddings.begin_anew(model, MAX_BEGUN_ANEW, self.clock())
        begun += self.reembeddings.begin_due(model, self.at_once, self.clock())
        self._publish(begun)
        return len(begun)

    def stop(self, requested_by: str) -> int:
        """Begin no more books, and return how many wishes were stopped. Those under way go on."""
        stopped = self.reembeddings.stop(self.clock())
        log.info("reembed.stopped", requested_by=requested_by, wishes=stopped)
        return stopped

    def wishes(self) -> Sequence[Mapping[str, Any]]:
        """The newest wishes, and how far each is."""
        return self.reembeddings.wishes(MAX_WISHES)

    def wish(self, reembedding_id: UUID) -> Mapping[str, Any] | None:
        """How far one is; None if there is no such wish."""
        return next(iter(self.reembeddings.wishes(1, reembedding_id)), None)

    def _publish(self, begun: Sequence[Job]) -> None:
        if begun:
            log.info("reembed.begun", books=len(begun))
            self.outbox.publish()
            self.projector.project_changes(begun)


def _sum(rows: Sequence[Mapping[str, Any]], column: str) -> int:
    return sum(row[column] for row in rows)
