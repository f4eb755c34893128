"""Every question that a model was paid for, by whom; and whether its answer was known by then."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.real.task import Task, this_task

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Call:
    """`what` is embed, quick, chapter or full; of an embedding, `question` are its texts."""

    number: int
    what: str
    question: tuple[str, ...]
    book_id: str
    job_id: str


class Ledger:
    """`kept` says since which step an answer is known, by book and question: journal rows tell it.

    `is_forced` says whether a task's version computes everything again.
    """

    def __init__(self, steps: Callable[[], int]) -> None:
        self._steps = steps
        self.is_forced: Callable[[Task], bool] = lambda task: False
        self.calls: list[Call] = []
        self.odd_errors: Counter[str] = Counter()
        self.kept: dict[Key, int] = {}
        self.owners: dict[str, str] = {}
        self.again: list[str] = []
        self.forced = self.repeated = 0
        self._paid: set[Key] = set()

    def copy(self) -> dict[str, Any]:
        """What rows tell, for `put_back`: answers that are known, and errors that attempts were counted for."""
        return {"kept": dict(self.kept), "odd_errors": Counter(self.odd_errors)}

    def put_back(self, those: dict[str, Any]) -> None:
        """What was paid for since then is forgotten, and may be paid for again."""
        self.kept, self.odd_errors = dict(those["kept"]), Counter(those["odd_errors"])

    def odd(self) -> None:
        """An error that is nobody's outage: the attempt counts."""
        if (task := this_task()) is not None:
            self.odd_errors[task.job_id or ""] += 1

    def asked(self, what: str, question: Sequence[str]) -> int:
        """Note that a model answers this, or refuses to: it is paid for. Return the number of the call."""
        task, number = this_task(), len(self.calls) + 1
        if task is None:
            return 0
        book_id = str(task.notes["book_id"])
        self.calls.append(
            Call(number=number, what=what, question=tuple(question), book_id=book_id, job_id=task.job_id or "")
        )
        keys = [(book_id, what, hash_of(t)) for t in question] if what == "embed" else [(book_id, what, *question)]
        forced = self.is_forced(task)
        for key in keys:
            self._pay(task, key, forced)
        if what != "embed":
            task.notes["asked"] = keys[0]
        return number

    def _pay(self, task: Task, key: Key, forced: bool) -> None:
        if key in self._paid:
            self.forced, self.repeated = self.forced + forced, self.repeated + (not forced)
        self._paid.add(key)
        known = [self.kept[k] for k in self._where_known(key) if k in self.kept]
        if known and not forced and min(known) < task.notes["began"]:
            self.again.append(f"{task.job_id} asked {key[1]} again, known since step {min(known)}: {key[2][:60]!r}")

    def _where_known(self, key: Key) -> list[Key]:
        """A text's vector may be in any book of the owner; what a generating model said is its book's alone."""
        if key[1] != "embed":
            return [key]
        owner = self.owners.get(key[0])
        return [(b, *key[1:]) for b, o in self.owners.items() if o == owner]


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
