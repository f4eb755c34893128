"""Readers switch to the new version."""

from __future__ import annotations

from shared.domain.jobs import Job
from shared.domain.results import BookCompleted


def complete_book(job: Job) -> BookCompleted:
    """All is in place by now: the switch itself is the commit."""
    return BookCompleted()
