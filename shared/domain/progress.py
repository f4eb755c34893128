"""How far a version of a book is, and what is due next: pure rules over one snapshot of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from shared.domain import jobs
from shared.domain.jobs import Job, Status

ACCEPTED, QUICK, FULL, CHAPTERS, EMBEDDINGS, COMPLETION = 10, 15, 25, 20, 20, 10

_SETTLED = (Status.COMPLETED, Status.FAILED)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Counts of one version. `pending_*` leaves out what failed for good; `steps` has the states of the
    book's own jobs: `split`, `quick`, `full` and `completion`, those that exist. `running` and `cancelled` are
    jobs."""

    book_id: UUID
    version: int
    total: int = 0
    processed: int = 0
    embedded: int = 0
    failed: int = 0
    pending_metadata: int = 0
    pending_vectors: int = 0
    steps: Mapping[str, Status] = field(default_factory=dict)
    running: int = 0
    cancelled: int = 0
    attempt: int = 0
    next_attempt_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A book's status as users see it."""

    status: Status
    phase: str
    percent: int


def too_many_failed(snapshot: Snapshot, tolerated: float) -> bool:
    """Whether more than the share `tolerated` (0 to 1) of the chapters failed. A book with none left has failed too."""
    return snapshot.failed > 0 and (snapshot.failed > tolerated * snapshot.total or snapshot.failed == snapshot.total)


def due_jobs(snapshot: Snapshot, tolerated: float) -> list[Job]:
    """What the snapshot calls for: fan-in by counting what is still pending.

    Asking again is harmless: the ids are fixed, so that a job that exists is not made twice.
    """
    steps = snapshot.steps
    if snapshot.cancelled or steps.get("split") != Status.COMPLETED or too_many_failed(snapshot, tolerated):
        return []
    if snapshot.pending_metadata:
        return []
    if "full" not in steps:
        return [jobs.extract_context_job(snapshot.book_id, snapshot.version, "full")]
    if steps["full"] == Status.COMPLETED and not snapshot.pending_vectors and "completion" not in steps:
        return [jobs.complete_book_job(snapshot.book_id, snapshot.version)]
    return []


def measure(snapshot: Snapshot, tolerated: float) -> Progress:
    """The status, phase and percentage that follow from a snapshot."""
    return Progress(status=_status(snapshot, tolerated), phase=_phase(snapshot), percent=_percent(snapshot))


def _status(snapshot: Snapshot, tolerated: float) -> Status:
    steps = snapshot.steps
    if steps.get("completion") == Status.COMPLETED:
        return Status.COMPLETED
    if snapshot.cancelled:
        return Status.CANCELLED
    if any(steps.get(s) == Status.FAILED for s in ("split", "full", "completion")):
        return Status.FAILED
    if too_many_failed(snapshot, tolerated):
        return Status.FAILED
    if snapshot.next_attempt_at and not snapshot.running:
        return Status.RETRYING
    return Status.PENDING if steps.get("split") == Status.PENDING else Status.PROCESSING


def _phase(snapshot: Snapshot) -> str:
    steps = snapshot.steps
    if steps.get("split") != Status.COMPLETED:
        return "splitting"
    if snapshot.pending_metadata:
        return "chapters"
    if steps.get("full") not in _SETTLED:
        return "context"
    if snapshot.pending_vectors:
        return "embeddings"
    return "completed" if steps.get("completion") == Status.COMPLETED else "completion"


def _percent(snapshot: Snapshot) -> int:
    steps = snapshot.steps
    if steps.get("completion") == Status.COMPLETED:
        return 100
    if steps.get("split") != Status.COMPLETED:
        return 0
    total = max(1, snapshot.total)
    percent = ACCEPTED
    percent += QUICK if steps.get("quick") in _SETTLED else 0
    percent += FULL if steps.get("full") in _SETTLED else 0
    percent += CHAPTERS * (snapshot.total - snapshot.pending_metadata) // total
    percent += EMBEDDINGS * (snapshot.total - snapshot.pending_vectors) // total
    return percent


def eta_seconds(percent: int, started_at: datetime | None, now: datetime) -> int | None:
    """Seconds to go if the rest takes as long per percent as what is done; None while it is too early to say."""
    if started_at is None or not ACCEPTED < percent < 100:
        return None
    return round((now - started_at).total_seconds() * (100 - percent) / percent)
