"""Readers switch to the new version."""

from __future__ import annotations

from shared.domain.results import BookCompleted
from shared.ports import Claimed


def complete_book(claim: Claimed) -> BookCompleted:
    """All is in place by now: the switch itself is the commit."""
    return BookCompleted()
