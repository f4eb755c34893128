"""Asks a generating model once for the same answer: a crash, a retry or a replay finds what was paid for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.domain.jobs import Job
from shared.domain.results import content_hash
from shared.ports import AnswerCache, Clock, Library

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class ModelAnswerMemo:
    library: Library
    cache: AnswerCache
    clock: Clock

    def __call__(
        self, job: Job, kind: type[Answer], model: str, question: Sequence[str], ask: Callable[[], Answer]
    ) -> Answer:
        """What was answered before, or what `ask` answers now. `question` is all that the answer depends on."""
        digest = content_hash("\0".join(question))
        fresh_since = self.library.fresh_since(job.book_id, job.version)
        known = self.cache.find(job.book_id, digest, model, kind, fresh_since)
        if known is not None:
            return known
        answer = ask()
        self.cache.keep(job.book_id, digest, model, answer, self.clock())
        return answer
