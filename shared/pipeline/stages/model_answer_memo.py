"""Pays a generating model once for one answer: a crash, a retry or a replay finds what was paid for, a refusal too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.domain.contexts import Refusal
from shared.domain.errors import Blocked, Unavailable
from shared.domain.results import content_hash
from shared.pipeline.at_once import raise_one_of
from shared.pipeline.measured_models import record_lookups
from shared.ports import AnswerCache, AtOnce, Claimed, Clock, Telemetry

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Question(Generic[Answer]):
    """`texts` are all that the answer depends on, in words that a rename in the code can't change; `ask` asks."""

    texts: Sequence[str]
    ask: Callable[[], Answer]


@dataclass(frozen=True, kw_only=True)
class ModelAnswerMemo:
    cache: AnswerCache
    clock: Clock
    at_once: AtOnce
    telemetry: Telemetry

    def __call__(self, claim: Claimed, kind: type[Answer], model: str, question: Question[Answer]) -> Answer:
        """Return the known answer to this question, or ask and keep it. Raises Blocked if the model refuses to answer,
        or did so before, and what asking raises."""
        (answer,) = self.several(claim, kind, model, [question])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def several(
        self, claim: Claimed, kind: type[Answer], model: str, questions: Sequence[Question[Answer]]
    ) -> list[Answer | Exception]:
        """The answer to each question, or why there is none; equal ones are asked once. Raises Unavailable when all are
        asked and kept, if the model is away; one that was is asked the first alone."""
        version = claim.job.book_version
        digests = [content_hash("\0".join(question.texts)) for question in questions]
        asks = {digest: question.ask for digest, question in zip(digests, questions, strict=True)}
        outcomes: dict[bytes, Answer | Exception] = {}
        for digest, known in self.cache.find(version, list(asks), model, kind).items():
            outcomes[digest] = Blocked(known.refused_because) if isinstance(known, Refusal) else known
        unknown = [digest for digest in asks if digest not in outcomes]
        record_lookups(self.telemetry, "answers", hits=len(outcomes), misses=len(unknown))
        first = 1 if claim.unavailable_since else len(unknown)
        for asked in filter(None, (unknown[:first], unknown[first:])):
            answered = dict(zip(asked, self.at_once([asks[d] for d in asked]), strict=True))
            if kept := {d: _kept(answer) for d, answer in answered.items() if _is_answer(answer)}:
                self.cache.keep(version, kept, model, self.clock())
            raise_one_of(answer for answer in answered.values() if isinstance(answer, Unavailable))
            outcomes |= answered
        return [outcomes[digest] for digest in digests]


def _is_answer(outcome: object) -> bool:
    return isinstance(outcome, Blocked) or not isinstance(outcome, Exception)


def _kept(answer: object) -> object:
    return Refusal(refused_because=str(answer)) if isinstance(answer, Blocked) else answer
