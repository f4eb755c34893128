"""Pays a generating model once for one answer: a crash, a retry or a replay finds what was paid for, a refusal too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.domain.contexts import Refusal
from shared.domain.errors import Blocked
from shared.domain.jobs import Job
from shared.domain.results import content_hash
from shared.ports import AnswerCache, Clock

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class ModelAnswerMemo:
    cache: AnswerCache
    clock: Clock

    def __call__(
        self, job: Job, kind: type[Answer], model: str, question: Sequence[str], ask: Callable[[], Answer]
    ) -> Answer:
        """Return the known answer to this question, or call `ask` and keep what it returns.

        `question` is all that the answer depends on, in texts that a rename in the code can't change. Raises Blocked
        if the model refuses to answer, or did so before.
        """
        digest = content_hash("\0".join(question))
        known = self.cache.find(job.book_version, digest, model, kind)
        if isinstance(known, Refusal):
            raise Blocked(known.refused_because)
        if known is not None:
            return known
        try:
            answer = ask()
        except Blocked as error:
            self.cache.keep(job.book_version, digest, model, Refusal(refused_because=str(error)), self.clock())
            raise
        self.cache.keep(job.book_version, digest, model, answer, self.clock())
        return answer
