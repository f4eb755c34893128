"""How far a version of a book is, and what is due next: pure rules over the counts of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.domain import jobs
from shared.domain.books import BookVersion, Phase, Status
from shared.domain.contexts import ContextMode
from shared.domain.jobs import Job
from shared.domain.stages import Dependency

# What each step adds to a book's percentage; a new book that is accepted begins with the first of them.
ACCEPTED, QUICK, FULL, CHAPTERS, EMBEDDINGS, COMPLETION = 10, 15, 25, 20, 20, 10

_ENDED = (Status.COMPLETED, Status.FAILED)


class Step(StrEnum):
    """The jobs that a version has once."""

    SPLIT = "split"
    QUICK_CONTEXT = "quick"
    FULL_CONTEXT = "full"
    COMPLETION = "completion"


@dataclass(frozen=True, kw_only=True)
class VersionCounts:
    """What there is of one version. `total` and `failed` count chapters; `pending_*` too, but leave out
    what failed for good. `steps` has those jobs that exist. `running` and `cancelled` count jobs. `waiting_for` is what
    stays away and has jobs waiting for it."""

    version: BookVersion
    total: int = 0
    failed: int = 0
    pending_metadata: int = 0
    pending_vectors: int = 0
    steps: Mapping[Step, Status] = field(default_factory=dict)
    running: int = 0
    cancelled: int = 0
    attempt: int = 0
    next_attempt_at: datetime | None = None
    waiting_for: Dependency | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A book's status as users see it."""

    status: Status
    phase: Phase
    percent: int


def too_many_failed(counts: VersionCounts, tolerated: float) -> bool:
    """Whether more than the share `tolerated` (0 to 1) of the chapters failed. A book with none left has failed too."""
    return counts.failed > 0 and (counts.failed > tolerated * counts.total or counts.failed == counts.total)


def due_jobs(counts: VersionCounts, tolerated: float) -> list[Job]:
    """The jobs that the counts call for: fan-in by counting what is still pending.

    Asking again is harmless: the ids are fixed, so that a job that exists is not made twice.
    """
    steps = counts.steps
    if counts.cancelled or steps.get(Step.SPLIT) != Status.COMPLETED or too_many_failed(counts, tolerated):
        return []
    if counts.pending_metadata:
        return []
    if Step.FULL_CONTEXT not in steps:
        return [jobs.extract_context_job(counts.version, ContextMode.FULL)]
    is_described = steps[Step.FULL_CONTEXT] == Status.COMPLETED
    if is_described and not counts.pending_vectors and Step.COMPLETION not in steps:
        return [jobs.complete_book_job(counts.version)]
    return []


def measure(counts: VersionCounts, tolerated: float) -> Progress:
    """The status, phase and percentage that follow from the counts."""
    return Progress(status=_status(counts, tolerated), phase=_phase(counts), percent=_percent(counts))


def _status(counts: VersionCounts, tolerated: float) -> Status:
    steps = counts.steps
    if steps.get(Step.COMPLETION) == Status.COMPLETED:
        return Status.COMPLETED
    if counts.cancelled:
        return Status.CANCELLED
    if any(steps.get(s) == Status.FAILED for s in (Step.SPLIT, Step.FULL_CONTEXT, Step.COMPLETION)):
        return Status.FAILED
    if too_many_failed(counts, tolerated):
        return Status.FAILED
    if counts.waiting_for and not counts.running:
        return Status.WAITING
    if counts.next_attempt_at and not counts.running:
        return Status.RETRYING
    return Status.PENDING if steps.get(Step.SPLIT) == Status.PENDING else Status.PROCESSING


def _phase(counts: VersionCounts) -> Phase:
    steps = counts.steps
    if steps.get(Step.SPLIT) != Status.COMPLETED:
        return Phase.SPLITTING
    if counts.pending_metadata:
        return Phase.CHAPTERS
    if steps.get(Step.FULL_CONTEXT) not in _ENDED:
        return Phase.CONTEXT
    if counts.pending_vectors:
        return Phase.EMBEDDINGS
    return Phase.COMPLETED if steps.get(Step.COMPLETION) == Status.COMPLETED else Phase.COMPLETION


def _percent(counts: VersionCounts) -> int:
    steps = counts.steps
    if steps.get(Step.COMPLETION) == Status.COMPLETED:
        return 100
    if steps.get(Step.SPLIT) != Status.COMPLETED:
        return 0
    total = max(1, counts.total)
    percent = ACCEPTED
    percent += QUICK if steps.get(Step.QUICK_CONTEXT) in _ENDED else 0
    percent += FULL if steps.get(Step.FULL_CONTEXT) in _ENDED else 0
    percent += CHAPTERS * (counts.total - counts.pending_metadata) // total
    percent += EMBEDDINGS * (counts.total - counts.pending_vectors) // total
    return percent


def eta_seconds(percent: int, started_at: datetime | None, now: datetime) -> int | None:
    """Seconds to go if the rest takes as long per percent as what is done; None while it is too early to say."""
    if started_at is None or not ACCEPTED < percent < 100:
        return None
    return round((now - started_at).total_seconds() * (100 - percent) / percent)
