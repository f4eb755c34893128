"""What is outside of PostgreSQL: topics that fail, documents of which a part is written, models that never say the
same twice."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.adapters.fake_models import FakeContextExtractor, FakeEmbedder
from shared.domain.contexts import BookContext, ChapterMetadata
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector
from shared.domain.errors import Blocked, ModelUnavailable, NotPublished, Rejected, Unavailable
from shared.domain.stages import MAX_REDELIVERY_SECONDS, Dependency
from shared.ports import Document, Message, Tombstone
from tests.simulation.boundary import Simulated
from tests.simulation.broker import SimulatedBroker
from tests.simulation.real.edge import Edge
from tests.simulation.real.ledger import Ledger
from tests.simulation.real.profile import Profile
from tests.simulation.real.task import this_task
from tests.simulation.world import RecordingLiveDocuments, first_line


class Outside:
    """Until when each service, and each topic, is away; and by how much a model asks to be left alone."""

    def __init__(self, rng: random.Random, edge: Edge, profile: Profile, clock: Callable[[], datetime]) -> None:
        self.rng, self.edge, self.profile, self.clock = rng, edge, profile, clock
        self.away: dict[str, datetime] = {}
        self.retry_after: float | None = None
        self.in_vain: Counter[str] = Counter()

    def is_away(self, service: str) -> bool:
        return self.away.get(service, self.clock()) > self.clock()

    def goes_away(self, service: str, seconds: float) -> None:
        self.away[service] = self.clock() + timedelta(seconds=seconds)

    def fails(self, rate: float) -> bool:
        return self.edge.faulty and self.rng.random() < rate

    def call(self, what: str) -> None:
        """The edge of a call, if a task makes it."""
        if (task := this_task()) is not None:
            self.edge.call(task, what)

    def fault(self, what: str) -> None:
        self.edge.count(what)
        self.edge.note(f"FAULT {what}")


class TopicalBroker(SimulatedBroker):
    """Topics fail alone, for minutes: of messages to several, some are taken."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside.rng, outside.edge, outside.clock, partial=0, longest_backoff=MAX_REDELIVERY_SECONDS)
        self._outside = outside

    def publish(self, messages: Sequence[Message]) -> None:
        outside = self._outside
        outside.call("publish")
        failed = []
        for n, message in enumerate(messages):
            if outside.is_away(message.topic) or outside.fails(outside.profile.broker):
                failed.append(n)
            else:
                self.send(message)
        if failed:
            outside.fault("messages not published")
            raise NotPublished("simulated: the broker did not take all", failed)
        outside.call("published")


class PartialLiveDocuments(RecordingLiveDocuments):
    """A batch may be written in part; then the store is away."""

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self._outside = outside

    def put(self, documents: Sequence[Document]) -> None:
        super().put(self._some(documents, "put"))

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        super().delete(self._some(tombstones, "delete"))

    def _some(self, things: Sequence[Any], what: str) -> Sequence[Any]:
        outside = self._outside
        outside.call(what)
        if outside.is_away("live documents") or outside.fails(outside.profile.live_documents):
            written = outside.rng.randrange(len(things) + 1)
            outside.fault("documents written in part" if written else "documents not written")
            (super().put if what == "put" else super().delete)(things[:written])
            raise Unavailable("simulated: the live documents are away")
        return things


class Moody:
    """What both models have in common: they are away, throttle, fail oddly, refuse; then they answer."""

    def __init__(self, outside: Outside, ledger: Ledger, dependency: Dependency, refused: Sequence[str]) -> None:
        self._outside, self._dependency, self._refused = outside, dependency, refused
        self.ledger = ledger

    def ask(self, what: str, texts: Sequence[str], question: Sequence[str]) -> None:
        """Raises what this model raises now. A refusal is an answer to the question."""
        outside = self._outside
        outside.call(f"{what} ({len(texts)})")
        if outside.is_away(self._dependency) or outside.fails(outside.profile.model / 2):
            outside.in_vain[self._dependency] += 1
            outside.fault("model away")
            raise ModelUnavailable("simulated: the model is away", retry_after=outside.retry_after)
        if outside.fails(outside.profile.model / 4):
            outside.fault("model asks to wait")
            raise ModelUnavailable("simulated: slow down", retry_after=outside.rng.choice([5, 60, 200]))
        if outside.fails(outside.profile.odd):
            outside.fault("model fails unexpectedly")
            self.ledger.odd()
            raise Simulated("simulated: something odd")
        for word, error in (("reject", Rejected), ("block", Blocked)):
            if any(f"{word} {what} {first_line(text)}" in self._refused for text in texts):
                outside.edge.count(f"model {word}s")
                if error is Blocked:
                    self.ledger.asked(what, question)
                raise error(f"simulated: the model will not: {word}")

    def answered(self) -> None:
        self._outside.call("answer")


class VaryingEmbedder(FakeEmbedder):
    """The last number of a vector tells the call that it came from."""

    def __init__(self, moody: Moody) -> None:
        super().__init__()
        self._moody = moody

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_texts=2, max_request_tokens=1_200)

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        if task is EmbeddingTask.QUERY:
            return super().embed(texts, task)
        self._moody.ask("embed", texts, texts)
        number = self._moody.ledger.asked("embed", texts)
        vectors = [_marked(v, number) for v in super().embed(texts, task)]
        self._moody.answered()
        return vectors


def _marked(vector: Vector, number: int) -> Vector:
    marked = [*vector[:-1], number % 97 / 200]
    length = math.hypot(*marked)
    return [x / length for x in marked]


class VaryingExtractor(FakeContextExtractor):
    """Each summary ends with the number of the call that it came from."""

    def __init__(self, moody: Moody) -> None:
        super().__init__()
        self._moody = moody

    def quick(self, title: str, beginning: str) -> BookContext:
        answer = super().quick(title, beginning)
        return replace(answer, summary=self._answer("quick", answer.summary, [title, beginning]))

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        answer = super().chapter(title, text)
        return replace(answer, summary=self._answer("chapter", answer.summary, [text, title]))

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        answer = super().full(title, chapters)
        return replace(answer, summary=self._answer("full", answer.summary, [title, *(c.summary for c in chapters)]))

    def _answer(self, what: str, summary: str, question: Sequence[str]) -> str:
        self._moody.ask(what, question[:1] if what == "chapter" else ["context"], question)
        number = self._moody.ledger.asked(what, question)
        self._moody.answered()
        return f"{summary} #{number}"
