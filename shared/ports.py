"""What Bindery needs from the world, in its own words. Adapters implement these; nothing here imports a vendor.

Every port may raise `Unavailable`, and every call is safe to repeat unless it says otherwise. All are safe to
call from many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar
from uuid import UUID

from shared.domain.dead_letters import Letters, Redrive, RedriveRequest
from shared.domain.failures import Failure
from shared.domain.identity import Caller
from shared.domain.imports import Imported, ImportRequest
from shared.domain.jobs import Job
from shared.domain.model import BookContext, ChapterMetadata, EmbeddingModel, EmbeddingTask, Vector
from shared.domain.ranking import Candidate
from shared.domain.results import Result
from shared.domain.stages import JobType, Stage

Answer = TypeVar("Answer")

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


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """Says that there must be no document of that path older than `revision`."""

    path: str
    revision: int


class StatusStore(Protocol):
    """Live documents, by path (`books/ID`, `books/ID/chapters/0001`). They only move forward."""

    def put(self, documents: Sequence[Document]) -> None:
        """Writes those that are newer than what is there, and leaves the rest."""
        ...

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        """Deletes those that are older than their tombstone, and leaves the rest."""
        ...


class ClaimState(StrEnum):
    CLAIMED = "claimed"
    DONE = "done"
    BUSY = "busy"
    STALE = "stale"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`job`, `attempt` (from 1) and `lease` are there if it is claimed; `exhausted` if its process has died
    too often."""

    state: ClaimState
    job: Job | None = None
    attempt: int = 0
    lease: UUID | None = None
    exhausted: bool = False


class Slots(Protocol):
    """Places for attempts of stages with a strict cap, shared by all processes."""

    def take(self, stage: Stage) -> AbstractContextManager[bool]:
        """Holds a place until the end of the block; False if none is free."""
        ...


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

    def bury(self, job_id: str, failure: Failure, now: datetime) -> Buried | None:
        """Ends a job that the broker gave up on. None if there is no such job, or it ended already."""
        ...

    def record_unreadable(
        self, topic: str, payload: Mapping[str, Any], failure: Failure, key: str, now: datetime
    ) -> None:
        """Keeps a message that names no job: one dead letter for each key, however often it comes."""
        ...

    def children(self, job_id: str) -> list[Job]:
        """Jobs that this one made and that nobody has begun."""
        ...

    def renew(self, leases: Sequence[UUID], now: datetime) -> None:
        """Prolongs the leases that are still held."""
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

    def fresh_since(self, book_id: UUID, version: int) -> datetime | None:
        """For a forced import, when it was made: what models gave before that is not to be used. Else None."""
        ...

    def metadata(self, book_id: UUID, version: int) -> list[ChapterMetadata]:
        """Of the chapters that have it, in the order of the book."""
        ...

    def missing(self, book_id: UUID, version: int) -> list[int]:
        """Numbers of the chapters that have no metadata."""
        ...

    def reusable(
        self, book_id: UUID, version: int, metadata_model: str, embedding_model: EmbeddingModel
    ) -> dict[bytes, UUID]:
        """Finished chapters of earlier versions, by content hash."""
        ...


class VectorCache(Protocol):
    """Vectors by hash of text, model and task."""

    def find(
        self, hashes: Sequence[bytes], model: EmbeddingModel, task: EmbeddingTask, fresh_since: datetime | None
    ) -> dict[bytes, Vector]:
        """Those that are known; with `fresh_since`, those kept since then."""
        ...

    def keep(
        self, vectors: Mapping[bytes, Vector], model: EmbeddingModel, task: EmbeddingTask, now: datetime
    ) -> None: ...


class AnswerCache(Protocol):
    """What generating models answered, by book, SHA-256 of the question, and model."""

    def find(
        self, book_id: UUID, question: bytes, model: str, kind: type[Answer], fresh_since: datetime | None
    ) -> Answer | None: ...

    def keep(self, book_id: UUID, question: bytes, model: str, answer: object, now: datetime) -> None: ...


class Projections(Protocol):
    """The live documents as PostgreSQL says they should be."""

    def of_jobs(self, jobs: Sequence[Job]) -> list[Document]:
        """The documents of the jobs themselves and of their chapters."""
        ...

    def of_book(self, book_id: UUID, *, chapters: bool = False) -> list[Document]:
        """The book's document; with `chapters`, those of all its chapters too. Empty if there is no such book."""
        ...

    def claim_book(self, book_id: UUID, now: datetime, min_seconds: float) -> bool:
        """Whether it is this caller's turn to project the book. A book that waits for nothing is always due;
        others are due once in `min_seconds`, over all processes."""
        ...

    def settled(self, documents: Sequence[Document]) -> None:
        """Notes that the live documents have reached these revisions."""
        ...

    def unsettle(self, book_id: UUID | None) -> int:
        """Notes that all documents of the book (None: of every book) are missing, and returns of how many books."""
        ...

    def obsolete(self, book_id: UUID) -> list[Tombstone]:
        """The book's documents that must not be there: of a deleted book, or of chapters that are no more."""
        ...

    def all_obsolete(self, limit: int) -> list[Tombstone]:
        """Those of all books, the oldest first."""
        ...

    def lagging(self, now: datetime, limit: int) -> list[Document]:
        """Live documents that are missing, or behind for longer than a moment."""
        ...

    def count_lagging(self, now: datetime) -> int: ...


class Imports(Protocol):
    def add(self, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        """Writes the book, the version and its first job in one transaction, or finds what an equal request wrote.

        `book_id` is for a new book. Raises UnknownBook if the request names a book that the owner does not have,
        KeyReused if its key came with another request, TooManyBooks if the owner has too many under way.
        """
        ...


class Control(Protocol):
    """What owners do with books under way. `owner_uid` None stands for an administrator.

    All raise UnknownBook.
    """

    def cancel(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        """Ends all work on the book and returns the jobs that it ended. Raises NotNow if there is none."""
        ...

    def resume(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        """Makes what was cancelled pending, and returns those jobs. Raises NotNow if the book is not cancelled."""
        ...

    def delete(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        """Deletes all rows of the book, and notes which live documents must go."""
        ...


class DeadLetters(Protocol):
    def page(self, letters: Letters, after: int | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest first; `after` is the last id of the page before."""
        ...

    def groups(self, letters: Letters, limit: int) -> Sequence[Mapping[str, Any]]:
        """By fingerprint, the largest group first."""
        ...

    def actions(self, dead_letter_id: int) -> Sequence[Mapping[str, Any]]:
        """What was done about a letter: who, when, and what came of it."""
        ...

    def redrive(self, request: RedriveRequest, batch_id: UUID, now: datetime) -> Redrive:
        """Notes the redrives of the open letters among those chosen; `release` sends them in their turn."""
        ...

    def release(self, now: datetime, limit: int) -> list[Job]:
        """Makes the jobs pending whose turn has come, and returns them with what else became due."""
        ...

    def discard(self, letters: Letters, requested_by: str, reason: str, batch_id: UUID, now: datetime) -> int:
        """Ends the open letters among those chosen, and returns how many."""
        ...


class Retention(Protocol):
    def drop(self, now: datetime, limit: int) -> Mapping[str, int]:
        """Drops at most `limit` rows of each kind that nobody will need, and says how many."""
        ...


class Replays(Protocol):
    """Receipts of replays."""

    def count(self, topic: JobType, since: datetime | None, book_id: UUID | None) -> int:
        """How many ended jobs were published since then, or belong to the book."""
        ...

    def jobs(self, topic: JobType, book_id: UUID) -> list[Job]:
        """The book's jobs of that type, of its latest version."""
        ...

    def begin(
        self,
        replay_id: UUID,
        topic: JobType,
        source: Mapping[str, Any],
        requested_by: str,
        book_id: UUID | None,
        now: datetime,
    ) -> None:
        """Remembers what had ended by now, so that the receipt can tell what a replay did to it."""
        ...

    def receipt(self, replay_id: UUID) -> Mapping[str, Any] | None:
        """What came of it so far."""
        ...


class SearchIndex(Protocol):
    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vector: Vector, model: EmbeddingModel, limit: int
    ) -> list[Candidate]:
        """At most `limit` nearest by meaning and `limit` best by words, of the owner's current versions."""
        ...


class Catalogue(Protocol):
    """The books, as their owner may see them. Rows are mappings of columns; None or empty where there is nothing."""

    def status(self, owner_uid: str | None, book_id: UUID) -> Mapping[str, Any] | None:
        """For an administrator, the owner is None."""
        ...

    def job(self, owner_uid: str | None, job_id: str) -> Mapping[str, Any] | None: ...

    def books(self, owner_uid: str, after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]: ...

    def readable(self, owner_uid: str, book_id: UUID) -> Mapping[str, Any] | None:
        """The version that readers see: `book_id, version, title, split_method`."""
        ...

    def context(self, book_id: UUID, version: int) -> Mapping[str, Any] | None:
        """The full context, or the quick one while there is no other: `context, mode, model`."""
        ...

    def chapters(self, book_id: UUID, version: int) -> Sequence[Mapping[str, Any]]: ...
