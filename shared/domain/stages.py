"""The one table of stages: what the runner, the local stack and retention read (`stages.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files


class JobType(StrEnum):
    """A job's type is its topic's name."""

    BOOK_PROCESSING = "book-processing"
    CONTEXT_EXTRACTION = "book-context-extraction"
    CHAPTER_PROCESSING = "chapter-processing"
    EMBEDDING_GENERATION = "embedding-generation"
    BOOK_COMPLETION = "book-completion"
    DEAD_LETTER = "dead-letter"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the table. `function` is the file, the entry point and (in kebab case) the service.

    `timeout_seconds` is the longest that one attempt may take. `strict`: never more than `concurrency` at once,
    over all instances; elsewhere the platform's scaling bounds it, roughly.
    """

    type: JobType
    function: str
    attempts: int
    first_backoff_seconds: float
    completed_kept: int
    failed_kept: int
    concurrency: int
    timeout_seconds: float
    strict: bool

    @property
    def subscription(self) -> str:
        return f"{self.type}-push"


# The broker's own limit only catches what the code could not: the job row counts the real attempts.
MAX_DELIVERIES = 100
MAX_BACKOFF_SECONDS = 600.0

# A service may ask for more. Well below what MAX_DELIVERIES allows: about 15 hours.
MAX_RETRY_AFTER_SECONDS = 6 * 3600.0

# The least wait between two deliveries of one message. It bounds how soon a dead function's work goes on; how long
# a failed attempt waits is in its job's row.
REDELIVERY_SECONDS = 1.0

# A lease is renewed while its attempt goes on, so that it may be short: a dead process's work is free soon.
LEASE_SECONDS = 5.0
HEARTBEAT_SECONDS = 1.5

# A job whose process died so often may crash other jobs too, and fails.
MAX_LEASE_EXPIRATIONS = 10


def _load() -> Mapping[JobType, Stage]:
    rows = json.loads(files(__package__).joinpath("stages.json").read_text("utf-8"))
    return {JobType(name): Stage(type=JobType(name), **row) for name, row in rows.items()}


STAGES: Mapping[JobType, Stage] = _load()


def backoff_seconds(stage: Stage, attempt: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with full jitter.

    `jitter` is a random number in [0, 1). What a service asked for is the least we wait, up to
    MAX_RETRY_AFTER_SECONDS. See
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ for why the jitter is full.
    """
    ceiling = min(MAX_BACKOFF_SECONDS, float(stage.first_backoff_seconds * 2 ** (attempt - 1)))
    return max(ceiling * jitter, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))
