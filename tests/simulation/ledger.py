"""Who paid for which answer of a model, and whether an answer that was there already was paid for again. A refusal is
an answer.

A second call for the same is allowed only if the first answer could not be known: a fault was injected between the
answer and its being kept, or the first had not been kept yet when the second looked (two books with a chapter
in common, a handler slower than its lease).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.domain.embeddings import EmbeddingTask
from shared.domain.errors import Blocked
from shared.domain.results import content_hash
from tests.simulation import names
from tests.simulation.tasks import Task

Key = tuple[str, ...]

# The transactions that look whether there is an answer, and those that keep one, by model.
LOOKS = {names.EMBEDDER: names.FIND_VECTORS, names.EXTRACTOR: names.FIND_ANSWER}
KEEPS = {names.EMBEDDER: names.KEEP_VECTORS, names.EXTRACTOR: names.KEEP_ANSWER}

# After these an attempt that is under way may have lost its lease.
_UPHEAVALS = (
    *(names.IMPORT, names.FAIL_UNDELIVERED, names.SEND_REDRIVE),
    *(names.CANCEL, names.DELETE, names.DROP_ROWS),
)


@dataclass(eq=False, kw_only=True)
class Answer:
    key: Key
    model: str
    job_id: str
    kept_at: int | None = None
    excused: bool = False
    vanished: bool = False
    forgotten: bool = False


@dataclass(kw_only=True)
class Again:
    """An answer that was paid for although an earlier one was kept, or went nowhere for no reason."""

    key: Key
    model: str
    job_id: str
    why: str


@dataclass
class Ledger:
    """Times are numbers of transactions: what is kept at a lower number than another's look was there to be found."""

    time: int = 0
    upheavals: int = 0
    answers: dict[Key, list[Answer]] = field(default_factory=dict)
    again: list[Again] = field(default_factory=list)
    lost: int = 0
    paid_anew: int = 0
    forced: int = 0
    raced: int = 0
    gone: set[UUID] = field(default_factory=set)

    def answered(self, task: Task, model: str, keys: Sequence[Key]) -> None:
        looked = task.notes.get(f"looked {model}", task.notes.get("began", 0))
        open_answers = task.notes.setdefault("open", [])
        for key in keys:
            before = self.answers.setdefault(key, [])
            why = next((w for a in before if (w := _why(a, looked))), None)
            if task.notes.get("forced"):
                self.forced += bool(before)
            elif why:
                self.again.append(Again(key=key, model=model, job_id=str(task.job_id), why=why))
            else:
                self._explain(before)
            answer = Answer(key=key, model=model, job_id=str(task.job_id))
            before.append(answer)
            open_answers.append(answer)

    def _explain(self, before: Sequence[Answer]) -> None:
        """Counts an answer that was there before, by what became of that."""
        if any(not a.excused and not a.forgotten for a in before):
            self.raced += 1
        elif any(not a.forgotten for a in before):
            self.lost += 1
        elif before:
            self.paid_anew += 1

    def forget(self, book_id: UUID, vectors: set[tuple[str, bytes]]) -> None:
        """The book is deleted: its answers, and the vectors that are not among those that other books of owners have."""
        self.gone.add(book_id)
        for key, answers in self.answers.items():
            is_vector = key[0] == "embed"
            is_gone = (key[1], content_hash(key[2])) not in vectors if is_vector else key[1] == str(book_id)
            for answer in answers if is_gone else ():
                answer.forgotten = True

    def committed(self, task: Task, port: str) -> None:
        self.time += 1
        task.notes.setdefault("began", self.time)
        for model in LOOKS:
            if port == LOOKS[model]:
                task.notes[f"looked {model}"] = self.time
            if port == KEEPS[model]:
                self._keep(task, model)
        if port in _UPHEAVALS:
            self.upheavals += 1
        if port == names.CLAIM:
            task.notes["upheavals"] = self.upheavals

    def _keep(self, task: Task, model: str) -> None:
        still_open = []
        for answer in task.notes.get("open", []):
            if answer.model == model:
                answer.kept_at = self.time
                # What is answered for a book that is gone is not kept.
                answer.forgotten = task.notes.get("book") in self.gone
            else:
                still_open.append(answer)
        task.notes["open"] = still_open

    def fault(self, task: Task) -> None:
        """A fault hit the task: the answers that it has not kept may be lost."""
        for answer in task.notes.get("open", []):
            answer.excused = True

    def ended(self, task: Task) -> None:
        if self._overtaken(task):
            self.fault(task)
        for answer in task.notes.pop("open", []):
            answer.vanished = not answer.excused

    def _overtaken(self, task: Task) -> bool:
        """Whether it lost its lease for a reason: it was too slow, or the book changed under it."""
        if task.lease_until is None or task.highest is None:
            return False
        return task.highest >= task.lease_until or task.notes.get("upheavals") != self.upheavals


def _why(answer: Answer, looked: int) -> str | None:
    if answer.excused or answer.forgotten:
        return None
    if answer.kept_at is not None and answer.kept_at < looked:
        return "was kept before the second looked"
    return "went nowhere, with no fault to explain it" if answer.vanished else None


class PaidEmbedder:
    """Notes each text that was paid for: each owner keeps their own vectors, over all their books."""

    def __init__(self, embedder: Any, ledger: Ledger, current: Any) -> None:
        self._embedder, self._ledger, self._current = embedder, ledger, current

    @property
    def model(self) -> Any:
        return self._embedder.model

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> Any:
        vectors = self._embedder.embed(texts, task)
        if (running := self._current()) is not None:
            self._ledger.answered(running, names.EMBEDDER, [("embed", running.notes["owner"], t) for t in texts])
        return vectors


class PaidExtractor:
    """Notes each question that was paid for: each book keeps its own answers, over all its versions."""

    def __init__(self, extractor: Any, ledger: Ledger, current: Any) -> None:
        self._extractor, self._ledger, self._current = extractor, ledger, current

    @property
    def model(self) -> Any:
        return self._extractor.model

    def quick(self, title: str, beginning: str) -> Any:
        return self._paid("quick", (title, beginning), lambda: self._extractor.quick(title, beginning))

    def chapter(self, title: str, text: str) -> Any:
        return self._paid("chapter", (title, text), lambda: self._extractor.chapter(title, text))

    def full(self, title: str, chapters: Any) -> Any:
        return self._paid("full", (title, *map(repr, chapters)), lambda: self._extractor.full(title, chapters))

    def _paid(self, mode: str, question: Key, ask: Callable[[], Any]) -> Any:
        try:
            answer = ask()
        except Blocked:
            self._note(mode, question)
            raise
        self._note(mode, question)
        return answer

    def _note(self, mode: str, question: Key) -> None:
        if (running := self._current()) is not None:
            self._ledger.answered(running, names.EXTRACTOR, [(mode, str(running.notes.get("book")), *question)])
