"""What is measured. Prometheus' names have underscores instead of dots, and the unit at their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    COUNTER = "counter"
    """Only rises: `record` adds to it."""
    HISTOGRAM = "histogram"
    """Sorts what is recorded into buckets, and so counts it, too."""
    GAUGE = "gauge"
    """Is what was recorded last."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`unit` is UCUM's (in braces: what is counted); every record names all `labels`."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()


def _metric(kind: Kind, name: str, unit: str, description: str, *labels: str) -> Metric:
    return Metric(name=f"bindery.{name}", kind=kind, unit=unit, description=description, labels=labels)


JOBS = _metric(Kind.COUNTER, "jobs", "{job}", "Jobs that ended, completed or failed", "stage", "outcome")
ATTEMPT_SECONDS = _metric(
    Kind.HISTOGRAM,
    "attempt.duration",
    "s",
    "Attempts at jobs, from claim to end: completed, failed, retrying, waiting or lost",
    *("stage", "outcome"),
)
MODEL_SECONDS = _metric(
    Kind.HISTOGRAM,
    "model.call.duration",
    "s",
    "Calls of models: answered, blocked, rejected, unavailable or error",
    *("model", "operation", "outcome"),
)
MODEL_TOKENS = _metric(
    Kind.COUNTER, "model.tokens", "{token}", "Tokens as the service counts them, read and written", "model", "direction"
)
MODEL_COST = _metric(Kind.COUNTER, "model.cost", "{USD}", "What the tokens cost, by BINDERY_MODEL_PRICES", "model")
CACHE_LOOKUPS = _metric(
    Kind.COUNTER,
    "cache.lookups",
    "{lookup}",
    "What was paid for before: answers and vectors, hit or miss",
    "cache",
    "result",
)
QUEUE_JOBS = _metric(Kind.GAUGE, "queue.jobs", "{job}", "Jobs that wait for a permit", "stage")
QUEUE_AGE = _metric(Kind.GAUGE, "queue.age", "s", "Age of the oldest job that waits for a permit", "stage")
PERMITS = _metric(Kind.GAUGE, "permits", "{permit}", "Permits in use", "stage")
DEAD_LETTERS = _metric(Kind.GAUGE, "dead_letters", "{dead_letter}", "Open dead letters", "stage")
PROJECTION_LAG = _metric(
    Kind.GAUGE, "projection.lag", "{document}", "Live documents that are behind PostgreSQL; 10000 are the most counted"
)

METRICS: Sequence[Metric] = (
    *(JOBS, ATTEMPT_SECONDS, MODEL_SECONDS, MODEL_TOKENS, MODEL_COST, CACHE_LOOKUPS),
    *(QUEUE_JOBS, QUEUE_AGE, PERMITS, DEAD_LETTERS, PROJECTION_LAG),
)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms', in seconds: from what a fake model takes to the longest that a stage may."""
