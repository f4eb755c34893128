"""A breaker for each dependency: what stays away is not asked by everyone, and is trusted again step by step.

See Fowler, https://martinfowler.com/bliki/CircuitBreaker.html; here an open breaker pauses stages, and fails nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

# Failures in a row, over all attempts: one may be chance.
FAILURES_THAT_OPEN = 2

# A dependency that is back is found out, and trusted again, within a minute, though the message of the job that asks
# may come MAX_REDELIVERY_SECONDS late.
FIRST_PAUSE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 40.0

# Each answer lets so many times more ask, until it is as many as any stage may.
GROWTH, TRUSTED = 4, 64


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """Closed unless it has `opened_at`. While it is open, the stages that need the dependency are paused until
    `retry_at`; from then on, `allowed` of their jobs may be worked on at once. `failures` is since it last answered."""

    failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    allowed: int | None = None

    def is_paused(self, permitted_at: datetime, now: datetime) -> bool:
        """Whether a job that was given its permit then is to wait."""
        if self.opened_at is None or self.retry_at is None:
            return False
        return now < self.retry_at or permitted_at < self.opened_at

    def failed(self, began: datetime, now: datetime, retry_after: float = 0, calls: int = 1) -> Self:
        """After an attempt that began then found the dependency away, in so many `calls`. `retry_after`: seconds
        that it asked for."""
        asked = timedelta(seconds=retry_after)
        if self.opened_at is None or self.retry_at is None:
            if self.failures + calls < FAILURES_THAT_OPEN and not retry_after:
                return replace(self, failures=self.failures + calls)
        elif began < self.opened_at:
            # It was under way when the breaker opened: it tells nothing new.
            return replace(self, retry_at=max(self.retry_at, now + asked))
        failures = self.failures + 1
        pause = timedelta(seconds=pause_seconds(failures))
        return replace(self, failures=failures, opened_at=now, retry_at=now + max(pause, asked), allowed=1)

    def answered(self, began: datetime) -> Self:
        """After an attempt that began then was answered."""
        if self.opened_at is not None and self.allowed is not None:
            if began < self.opened_at:
                return self
            if self.allowed * GROWTH < TRUSTED:
                return replace(self, allowed=self.allowed * GROWTH)
        return replace(self, failures=0, opened_at=None, retry_at=None, allowed=None)


def pause_seconds(failures: int) -> float:
    """How long a dependency that failed so often in a row is left alone."""
    times = min(10, max(0, failures - FAILURES_THAT_OPEN))
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**times))
