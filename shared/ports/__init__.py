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
    Reusable,
    SearchIndex,
    Source,
    Texts,
    VectorCache,
    VectorsWanted,
)
from shared.ports.broker import BrokerSnapshot, Message, Publisher, SeekableBroker
from shared.ports.callers import ApiKeys, Authenticator, PushVerifier
from shared.ports.health import Missing, Readiness
from shared.ports.identifiers import IdentifierKind, Identifiers
from shared.ports.jobs import Change, Claim, Claimed, Ended, JobStore, Leases, NotClaimed, Outage
from shared.ports.live import Document, LiveBooks, LiveChanges, LiveDocuments, Projections, Removal, Restores, Tombstone
from shared.ports.models import AtOnce, ContextExtractor, Embedder, TokenMeter
from shared.ports.operators import DeadLetters, OutdatedBooks, Redrives, Reembeddings, Replays, Retention
from shared.ports.telemetry import NO_TELEMETRY, Gauges, NoTelemetry, Telemetry
from shared.ports.webhooks import WebhookDeliveries, Webhooks, WebhookSender

Clock = Callable[[], datetime]
"""The current time, with its zone."""

__all__ = [
    "NO_TELEMETRY",
    "AnswerCache",
    "ApiKeys",
    "AtOnce",
    "Authenticator",
    "BrokerSnapshot",
    "Catalogue",
    "Change",
    "ChapterText",
    "Claim",
    "Claimed",
    "Clock",
    "ContextExtractor",
    "Control",
    "DeadLetters",
    "Document",
    "Embedder",
    "Ended",
    "Gauges",
    "IdentifierKind",
    "Identifiers",
    "Imports",
    "JobStore",
    "Leases",
    "Library",
    "LiveBooks",
    "LiveChanges",
    "LiveDocuments",
    "Message",
    "Missing",
    "NoTelemetry",
    "NotClaimed",
    "Outage",
    "OutdatedBooks",
    "Projections",
    "Publisher",
    "PushVerifier",
    "Readiness",
    "Redrives",
    "Reembeddings",
    "Removal",
    "Replays",
    "Restores",
    "Retention",
    "Reusable",
    "SearchIndex",
    "SeekableBroker",
    "Source",
    "Telemetry",
    "Texts",
    "TokenMeter",
    "Tombstone",
    "VectorCache",
    "VectorsWanted",
    "WebhookDeliveries",
    "WebhookSender",
    "Webhooks",
]
