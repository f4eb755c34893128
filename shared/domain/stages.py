"""The one table of stages: what the runner, the local stack and Terraform read (`stages.json`)."""

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
    """One row of the table. `function` is the file, the entry point and (in kebab case) the service."""

    type: JobType
    function: str
    attempts: int
    first_backoff_seconds: float
    completed_kept: int
    failed_kept: int
    concurrency: int
    lease_seconds: float

    @property
    def subscription(self) -> str:
        return f"{self.type}-push"


# The broker's own limit only catches what the code could not: the job row counts the real attempts.
MAX_DELIVERIES = 100
MAX_BACKOFF_SECONDS = 600.0


def _load() -> Mapping[JobType, Stage]:
    rows = json.loads(files(__package__).joinpath("stages.json").read_text("utf-8"))
    return {JobType(name): Stage(type=JobType(name), **row) for name, row in rows.items()}


STAGES: Mapping[JobType, Stage] = _load()


def backoff_seconds(stage: Stage, attempt: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with full jitter in its upper half.

    `jitter` is a random number in [0, 1). What a service asked for is the least we wait.
    """
    ceiling = min(MAX_BACKOFF_SECONDS, float(stage.first_backoff_seconds * 2 ** (attempt - 1)))
    return max(ceiling * (0.5 + jitter / 2), retry_after or 0.0)
