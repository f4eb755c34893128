"""The one table of stages: what the runner, the local stack and retention read (`stages.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from shared.domain.breaker import LONGEST_PAUSE_SECONDS


class JobType(StrEnum):
    """A job's type is its topic's name."""

    BOOK_PROCESSING = "book-processing"
    CONTEXT_EXTRACTION = "book-context-extraction"
    CHAPTER_PROCESSING = "chapter-processing"
    EMBEDDING_GENERATION = "embedding-generation"
    BOOK_COMPLETION = "book-completion"
    NOTIFICATIONS = "notifications"
    DEAD_LETTER = "dead-letter"


class Dependency(StrEnum):
    """What stages ask, and what may stay away."""

    GENERATING_MODEL = "generating-model"
    EMBEDDING_MODEL = "embedding-model"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the table. `function` is the file, the entry point and (in kebab case) the service.

    `concurrency` is how many of its jobs may hold a permit at once, over all instances, unless a setting says
    otherwise. `model` is what an attempt asks, if it asks one. `timeout_seconds` is the longest that one may take.
    """

    type: JobType
    function: str
    attempts: int
    first_backoff_seconds: float
    completed_kept: int
    failed_kept: int
    concurrency: int
    model: Dependency | None
    timeout_seconds: float

    @property
    def subscription(self) -> str:
        return f"{self.type}-push"


# The broker's own limit only catches what the code could not: the job row counts the real attempts.
MAX_DELIVERIES = 100
MAX_BACKOFF_SECONDS = 600.0

# A service may ask for more.
MAX_RETRY_AFTER_SECONDS = 6 * 3600.0

# The longest wait between two deliveries of one message. Whoever asks a model that is away comes by it: 1, 3, 7, 15,
# 30, 45 seconds after its message was published, or later.
MAX_REDELIVERY_SECONDS = 15.0

# The least. It bounds how soon a dead function's work goes on; how long a failed attempt waits is in its job's row.
REDELIVERY_SECONDS = 1.0

# A lease is renewed while its attempt goes on, so that it may be short: a dead process's work is free soon.
LEASE_SECONDS = 5.0
HEARTBEAT_SECONDS = 1.5

# A job whose process died so often may crash other jobs too, and fails.
MAX_LEASE_EXPIRATIONS = 10


def _load() -> Mapping[JobType, Stage]:
    rows = json.loads(files(__package__).joinpath("stages.json").read_text("utf-8"))
    return {JobType(name): _stage(JobType(name), **row) for name, row in rows.items()}


def _stage(job_type: JobType, *, model: str | None, **row: Any) -> Stage:
    return Stage(type=job_type, model=Dependency(model) if model else None, **row)


STAGES: Mapping[JobType, Stage] = _load()

JOB_TYPES: Sequence[JobType] = tuple(t for t in STAGES if t not in (JobType.NOTIFICATIONS, JobType.DEAD_LETTER))
"""Those that have rows of jobs."""


def wait_seconds(stage: Stage, waited: float, jitter: float) -> float:
    """Seconds to wait for a service that has been away for `waited` seconds: as long again, within bounds, with full
    jitter."""
    return jitter * max(stage.first_backoff_seconds, min(LONGEST_PAUSE_SECONDS, waited))


def backoff_seconds(stage: Stage, attempt: int, jitter: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with full jitter.

    `jitter` is a random number in [0, 1). See
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ for why the jitter is full.
    """
    return jitter * min(MAX_BACKOFF_SECONDS, float(stage.first_backoff_seconds * 2 ** (attempt - 1)))
