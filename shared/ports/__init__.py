"""What Bindery needs from the world, in its own words. Adapters implement these; nothing here imports a vendor.

Every port may raise `Unavailable`, and every call is safe to repeat unless it says otherwise. All are safe to
call from many threads.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from shared.ports.books import (
    AnswerCache,
    Catalogue,
    ChapterText,
    Control,
    Imports,
    Library,
    SearchIndex,
    Source,
    VectorCache,
)
from shared.ports.broker import BrokerSnapshot, Message, Publisher, Rewinder
from shared.ports.callers import Authenticator, PushVerifier
from shared.ports.jobs import Buried, Claim, ClaimState, JobStore, LeaseLost, Slots
from shared.ports.live import Document, Projections, StatusStore, Tombstone
from shared.ports.models import ContextExtractor, Embedder
from shared.ports.operators import DeadLetters, Replays, Retention

Clock = Callable[[], datetime]
"""The current time, with its zone."""

__all__ = [
    "AnswerCache",
    "Authenticator",
    "BrokerSnapshot",
    "Buried",
    "Catalogue",
    "ChapterText",
    "Claim",
    "ClaimState",
    "Clock",
    "ContextExtractor",
    "Control",
    "DeadLetters",
    "Document",
    "Embedder",
    "Imports",
    "JobStore",
    "LeaseLost",
    "Library",
    "Message",
    "Projections",
    "Publisher",
    "PushVerifier",
    "Replays",
    "Retention",
    "Rewinder",
    "SearchIndex",
    "Slots",
    "Source",
    "StatusStore",
    "Tombstone",
    "VectorCache",
]
