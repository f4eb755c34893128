"""What Bindery needs from the world, in its own words. Adapters implement these; nothing here imports a vendor.

Every port may raise `Unavailable`, and every call is safe to repeat unless it says otherwise. All are safe to
call from many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from shared.domain.failures import Failure
from shared.domain.identity import Caller
from shared.domain.imports import Imported, ImportRequest
from shared.domain.jobs import Job
from shared.domain.model import BookContext, ChapterMetadata, EmbeddingModel, EmbeddingTask, Vector
from shared.domain.ranking import Candidate
from shared.domain.results import Result

Clock = Callable[[], datetime]
"""The current time, with its zone."""


class Embedder(Protocol):
    """Turns text into vectors."""

    @property
    def model(self) -> EmbeddingModel: ...

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        """One unit-length vector per text, in order. Raises Rejected for text that it can never embed."""
        ...


class ContextExtractor(Protocol):
    """Reads prose. Raises Rejected for text that it can never read."""

    @property
    def model(self) -> str:
        """Name and version, as stored beside what it extracted."""
        ...

    def quick(self, title: str, beginning: str) -> BookContext:
        """A first idea of a book from its beginning (some thousand words)."""
        ...

    def chapter(self, title: str, text: str) -> ChapterMetadata:
        """The metadata of one chapter."""
        ...

    def full(self, title: str, chapters: Sequence[ChapterMetadata]) -> BookContext:
        """The context of the whole book, reduced from its chapters' metadata, in order."""
        ...


class Authenticator(Protocol):
    def authenticate(self, authorization: str | None) -> Caller:
        """Who sent this Authorization header. Raises Unauthenticated."""
        ...


class PushVerifier(Protocol):
    def verify(self, authorization: str | None) -> None:
        """Returns if the broker's own account sent this Authorization header. Raises Unauthenticated."""
        ...


@dataclass(frozen=True, kw_only=True)
class Message:
    """`data` is JSON of ids, never text of a book."""

    topic: str
    data: Mapping[str, Any]
    attributes: Mapping[str, str] = field(default_factory=dict)


class Publisher(Protocol):
    def publish(self, messages: Sequence[Message]) -> None:
        """Returns when the broker has them all. They arrive at least once, in any order."""
        ...


@dataclass(frozen=True, kw_only=True)
class BrokerSnapshot:
    """What one topic's subscription had still to deliver at a moment. The broker forgets it at `expires_at`."""

    topic: str
    name: str
    expires_at: datetime | None


class Rewinder(Protocol):
    """The broker's memory: what was delivered can be delivered again. Topics are stages' (JobType).

    All raise Rejected for a topic that is not there, or a name that no snapshot can have.
    """

    def rewind_to_time(self, topic: str, since: datetime) -> None:
        """Delivers again what was published at `since` or later, acknowledged or not, as far back as the broker
        remembers. What was published earlier counts as acknowledged."""
        ...

    def rewind_to_snapshot(self, topic: str, name: str) -> None:
        """Delivers again what was not acknowledged when the snapshot was made, and all that was published since.
        The rest counts as acknowledged. Raises UnknownSnapshot."""
        ...

    def create_snapshot(self, topic: str, name: str) -> None:
        """Raises SnapshotExists, also if it is repeated."""
        ...

    def snapshots(self) -> list[BrokerSnapshot]:
        """Of all topics, by topic and name."""
        ...

    def delete_snapshot(self, topic: str, name: str) -> None:
        """Raises UnknownSnapshot, also if it is repeated."""
        ...


@dataclass(frozen=True, kw_only=True)
class Document:
    """A live document. Of two with the same path, the one with the higher `revision` is the newer."""

    path: str
    revision: int
    fields: Mapping[str, Any]


class StatusStore(Protocol):
    """Live documents, by path (`books/ID`, `books/ID/chapters/0001`). They only move forward."""

    def put(self, documents: Sequence[Document]) -> None:
        """Writes those that are newer than what is there, and leaves the rest."""
        ...

    def delete(self, paths: Sequence[str]) -> None: ...


class ClaimState(StrEnum):
    CLAIMED = "claimed"
    DONE = "done"
    BUSY = "busy"
    STALE = "stale"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`job`, `attempt` (from 1) and `lease` are there if it is claimed; `exhausted` if no attempt is left,
    because earlier ones died without a word."""

    state: ClaimState
    job: Job | None = None
    attempt: int = 0
    lease: UUID | None = None
    exhausted: bool = False


class LeaseLost(Exception):
    """Another delivery has taken the job over, or its version is no longer the latest: nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Buried:
    """A job that was ended from outside, and those that became due."""

    job: Job
    due: Sequence[Job]


class JobStore(Protocol):
    """Jobs and the results that end them."""

    def claim(self, job_id: str, now: datetime) -> Claim:
        """Takes the job for one attempt, or says why not."""
        ...

    def commit(self, claim: Claim, result: Result, now: datetime) -> list[Job]:
        """Writes the result, the end of the job and the jobs that it makes due, in one transaction.

        Returns the new jobs, to be published. Raises LeaseLost; not to be repeated after it returned.
        """
        ...

    def postpone(self, claim: Claim, failure: Failure, until: datetime, now: datetime) -> None:
        """Ends the attempt; another may begin at `until`. Raises LeaseLost."""
        ...

    def fail(self, claim: Claim, failure: Failure, now: datetime) -> list[Job]:
        """Ends the job for good, with a dead letter. Returns jobs that became due. Raises LeaseLost."""
        ...

    def bury(self, job_id: str, failure: Failure, message_id: str, now: datetime) -> Buried | None:
        """Ends a job that the broker gave up on. None if there is no such job, or it ended already."""
        ...

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, message_id: str, now: datetime
    ) -> None:
        """Keeps a message that names no job."""
        ...

    def children(self, job_id: str) -> list[Job]:
        """Jobs that this one made and that nobody has begun."""
        ...

    def mark_published(self, job_ids: Sequence[str], now: datetime) -> None: ...

    def stalled(self, now: datetime, limit: int) -> list[Job]:
        """Jobs to publish again: never published, lease over, retry overdue, or queued for too long."""
        ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """The manuscript of one version, as imported."""

    title: str
    content: str
    force: bool


@dataclass(frozen=True, kw_only=True)
class ChapterText:
    chapter_id: UUID
    title: str
    content: str


class Library(Protocol):
    """The books, as the stages read them."""

    def source(self, book_id: UUID, version: int) -> Source: ...

    def beginning(self, book_id: UUID, version: int, characters: int) -> str:
        """The first characters of the chapters, or of all the text while there are none."""
        ...

    def title(self, book_id: UUID, version: int) -> str: ...

    def chapters(self, chapter_ids: Sequence[UUID]) -> list[ChapterText]:
        """In the order of the book."""
        ...

    def is_forced(self, book_id: UUID, version: int) -> bool: ...

    def metadata(self, book_id: UUID, version: int) -> list[ChapterMetadata]:
        """Of the chapters that have it, in the order of the book."""
        ...

    def reusable(
        self, book_id: UUID, version: int, metadata_model: str, embedding_model: EmbeddingModel
    ) -> dict[bytes, UUID]:
        """Finished chapters of earlier versions, by content hash."""
        ...


class VectorCache(Protocol):
    """Vectors by hash of text, model and task."""

    def find(self, hashes: Sequence[bytes], model: EmbeddingModel, task: EmbeddingTask) -> dict[bytes, Vector]: ...

    def keep(self, vectors: Mapping[bytes, Vector], model: EmbeddingModel, task: EmbeddingTask) -> None: ...


class Projections(Protocol):
    """The live documents as PostgreSQL says they should be."""

    def of_job(self, job: Job) -> list[Document]:
        """The documents of the job itself and of its chapters."""
        ...

    def of_book(self, book_id: UUID, *, chapters: bool = False) -> list[Document]:
        """The book's document; with `chapters`, those of all its chapters too. Empty if there is no such book."""
        ...

    def claim_book(self, book_id: UUID, now: datetime, min_seconds: float) -> bool:
        """Whether it is this caller's turn to project the book. A book that waits for nothing is always due;
        others are due once in `min_seconds`, over all processes."""
        ...

    def settled(self, book_id: UUID, revision: int, *, complete: bool) -> None:
        """Notes that the live document has reached this revision; `complete` if its chapters' have too."""
        ...

    def unsettle(self, book_id: UUID) -> None:
        """Notes that documents are missing: the book lags until a complete projection."""
        ...

    def lagging(self, now: datetime, limit: int) -> list[UUID]:
        """Books whose live document is behind for longer than a moment."""
        ...


class Imports(Protocol):
    def add(self, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        """Writes the book, the version and its first job in one transaction, or finds what an equal request wrote.

        `book_id` is for a new book. Raises UnknownBook if the request names a book that the owner does not have,
        KeyReused if its key came with another request.
        """
        ...


class SearchIndex(Protocol):
    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vector: Vector, model: EmbeddingModel, limit: int
    ) -> list[Candidate]:
        """At most `limit` nearest by meaning and `limit` best by words, of the owner's current versions."""
        ...


class Catalogue(Protocol):
    """The books, as their owner may see them. Rows are mappings of columns; None or empty where there is nothing."""

    def status(self, owner_uid: str, book_id: UUID) -> Mapping[str, Any] | None: ...

    def job(self, owner_uid: str, job_id: str) -> Mapping[str, Any] | None: ...

    def books(self, owner_uid: str, after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]: ...

    def readable(self, owner_uid: str, book_id: UUID) -> Mapping[str, Any] | None:
        """The version that readers see: `book_id, version, title, split_method`."""
        ...

    def context(self, book_id: UUID, version: int) -> Mapping[str, Any] | None:
        """The full context, or the quick one while there is no other: `context, mode, model`."""
        ...

    def chapters(self, book_id: UUID, version: int) -> Sequence[Mapping[str, Any]]: ...
