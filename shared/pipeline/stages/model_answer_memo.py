"""Pays a generating model once for one answer: a crash, a retry or a replay finds what was paid for, a refusal too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from shared.domain.contexts import Refusal
from shared.domain.errors import Blocked
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
        """Return the known answer to this question, or call `ask` and keep what it returns.

        `question` is all that the answer depends on, in texts that a rename in the code can't change. Raises Blocked
        if the model refuses to answer, or did so before.
        """
        digest = content_hash("\0".join(question))
        fresh_since = self.library.fresh_since(job.book_version)
        known = self.cache.find(job.book_id, digest, model, kind, fresh_since)
        if isinstance(known, Refusal):
            raise Blocked(known.refused_because)
        if known is not None:
            return known
        try:
            answer = ask()
        except Blocked as error:
            self.cache.keep(job.book_id, digest, model, Refusal(refused_because=str(error)), self._now(fresh_since))
            raise
        self.cache.keep(job.book_id, digest, model, answer, self._now(fresh_since))
        return answer

    def _now(self, fresh_since: datetime | None) -> datetime:
        """No earlier than the forced import for which it was asked, whatever the clock of this process shows."""
        return max(self.clock(), fresh_since) if fresh_since else self.clock()
