"""Books, as stages and the API need them, and what was paid for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from shared.domain.books import BookFilter, BookVersion, Cause, Status
from shared.domain.contexts import ChapterMetadata, Refusal
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, ModelKey, Vector
from shared.domain.imports import Imported, ImportRequest
from shared.domain.jobs import Job
from shared.domain.ranking import Candidate
from shared.domain.splitting.chapters import Split
from shared.domain.stages import JobType

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The manuscript of one version, as imported. `embedding_model` is what its vectors have to be of, if that is known
    before it is split."""

    title: str
    content: str
    force: bool
    cause: Cause
    embedding_model: ModelKey | None


@dataclass(frozen=True, kw_only=True)
class ChapterText:
    chapter_id: UUID
    title: str
    content: str


@dataclass(frozen=True)
class Reusable:
    """Chapters of earlier versions with one content, if there are such: one that has its metadata, or that a generating
    model refused, and one that has its vectors."""

    metadata_of: UUID | None = None
    vectors_of: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class VectorsWanted:
    """What a version's vectors are to be: of which `model` (None: any), and, if it was forced, computed since when."""

    model: ModelKey | None
    fresh_since: datetime | None


class Library(Protocol):
    """The books, as the stages read them. All raise Rejected if the book was deleted."""

    def source(self, version: BookVersion) -> Source: ...

    def beginning(self, version: BookVersion, characters: int) -> str:
        """The first characters of the chapters; empty while there are none."""
        ...

    def title(self, version: BookVersion) -> str: ...

    def chapters(self, chapter_ids: Sequence[UUID]) -> list[ChapterText]:
        """In the order of the book."""
        ...

    def metadata(self, version: BookVersion) -> list[ChapterMetadata]:
        """Of the chapters that have it, in the order of the book."""
        ...

    def chapters_without_metadata(self, version: BookVersion) -> list[int]:
        """Their numbers."""
        ...

    def reusable(
        self, version: BookVersion, metadata_model: str | None, embedding_model: EmbeddingModel
    ) -> dict[bytes, Reusable]:
        """What earlier versions' chapters have of these models, by content hash; None is any."""
        ...

    def split_of_readers(self, version: BookVersion) -> Split:
        """How the version that readers see is split, whose text is the same."""
        ...

    def vectors_wanted(self, version: BookVersion) -> VectorsWanted: ...

    def keeps_context(self, version: BookVersion) -> bool:
        """Whether nothing is known of the book that readers don't see: it moves to another embedding model, and no
        chapter has metadata that had none."""
        ...


class VectorCache(Protocol):
    """The vectors of each book, by hash of text, model and task. They go with their book."""

    def find(
        self,
        book_id: UUID,
        hashes: Sequence[bytes],
        model: EmbeddingModel,
        task: EmbeddingTask,
        fresh_since: datetime | None,
        now: datetime,
    ) -> dict[bytes, Vector]:
        """Those that are known of this book, or of others with which it shares: these become its own, too.

        With `fresh_since`, those of this book alone, computed since then.
        """
        ...

    def keep(
        self,
        book_id: UUID,
        vectors: Mapping[bytes, Vector],
        model: EmbeddingModel,
        task: EmbeddingTask,
        fresh_since: datetime | None,
        now: datetime,
    ) -> dict[bytes, Vector]:
        """Keep what was computed for the book (nothing, if it was deleted meanwhile), and return what it has now: that
        of another attempt which was quicker, unless it is older than `fresh_since`."""
        ...


class AnswerCache(Protocol):
    """What generating models answered, or that they refused to, by book, SHA-256 of the question, and model."""

    def find(
        self, version: BookVersion, questions: Sequence[bytes], model: str, kind: type[Answer]
    ) -> dict[bytes, Answer | Refusal]:
        """Those that are known; for a forced import, only what came after it."""
        ...

    def keep(self, version: BookVersion, answers: Mapping[bytes, object], model: str, now: datetime) -> None:
        """Nothing is kept of a book that was deleted meanwhile."""
        ...


class Imports(Protocol):
    def add(self, request: ImportRequest, book_id: UUID, now: datetime) -> Imported:
        """Write the book, the version and its first job in one transaction, or find what an equal request wrote.

        `book_id` is for a new book. Raises UnknownBook if the request names a book that the owner does not have,
        KeyReused if its key came with another request, TooManyBooks if the owner has too many under way.
        """
        ...


class Control(Protocol):
    """What owners do with books under way. `owner_uid` None stands for an administrator.

    All raise UnknownBook.
    """

    def cancel(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        """End all work on the book and return the jobs that it ended. Raises InvalidState if there is none."""
        ...

    def resume(self, owner_uid: str | None, book_id: UUID, now: datetime) -> list[Job]:
        """Make what was cancelled pending, and return those jobs. Raises InvalidState unless it is cancelled."""
        ...

    def delete(self, owner_uid: str | None, book_id: UUID, now: datetime) -> None:
        """Delete all rows of the book, and note which live documents must go."""
        ...

    def set_readers(self, owner_uid: str | None, book_id: UUID, readers: Collection[str], now: datetime) -> None:
        """Let these users, and no others, read the book beside its owner."""
        ...


class SearchIndex(Protocol):
    """The passages of the versions that readers see, by owner."""

    def models(self, owner_uid: str, book_id: UUID | None) -> Collection[ModelKey]:
        """Those that made the vectors of the owner's books, or of one of them."""
        ...

    def candidates(
        self, owner_uid: str, book_id: UUID | None, text: str, vectors: Mapping[ModelKey, Vector], limit: int
    ) -> list[Candidate]:
        """At most `limit` nearest by meaning for each of the models, and `limit` best by words, whatever their model.

        `vectors` are the query's, by each model that could be asked.
        """
        ...


class Texts(Protocol):
    """What a version is made of. Offsets count characters from the start of the imported text; vectors, where they are
    asked for, are lists of numbers, of which zeros at the end may be padding."""

    def numbers(self, version: BookVersion) -> Sequence[int]:
        """Of its chapters, in order."""
        ...

    def chapter(self, version: BookVersion, number: int, *, vectors: bool = False) -> Mapping[str, Any] | None:
        """`chapter_id, number, title, text, word_count, start_offset, end_offset, metadata, embedding_model,
        embedding_version, vector`."""
        ...

    def passages(self, chapter: Mapping[str, Any], *, vectors: bool = False) -> Sequence[Mapping[str, Any]]:
        """Of such a chapter, in order: `chunk_index, start_offset, end_offset, word_count, text, embedding_model,
        embedding_version, vector`."""
        ...


class Catalogue(Protocol):
    """The books, as their owner and readers may see them. Rows are mappings of columns; None or empty where there is
    nothing."""

    def status(self, uid: str | None, book_id: UUID, *, as_reader: bool = False) -> Mapping[str, Any] | None:
        """Of a book that the user owns, or may read (`as_reader`); None is an administrator."""
        ...

    def may_watch(self, uid: str | None, book_id: UUID) -> bool:
        """Whether the user may hear of the book's live documents; for an administrator (None), whether it is there."""
        ...

    def job(self, owner_uid: str | None, job_id: str) -> Mapping[str, Any] | None: ...

    def jobs(
        self,
        owner_uid: str | None,
        book_id: UUID | None,
        job_type: JobType | None,
        state: Status | None,
        after: str | None,
        limit: int,
    ) -> Sequence[Mapping[str, Any]]:
        """Of all that is named, the newest first; `after` is the last id of the page before."""
        ...

    def books(self, chosen: BookFilter, after: UUID | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest first; `after` is the last id of the page before."""
        ...

    def count_books(self, chosen: BookFilter) -> Mapping[Status, int]:
        """By status, whatever status is chosen."""
        ...

    def readable(self, uid: str, book_id: UUID) -> Mapping[str, Any] | None:
        """The version that readers see, if the user may read it: `book_id, version, title, split_method, owner_uid,
        readers`."""
        ...

    def context(self, version: BookVersion) -> Mapping[str, Any] | None:
        """The full context, or the quick one while there is no other: `context, mode, model`."""
        ...

    def chapters(self, version: BookVersion) -> Sequence[Mapping[str, Any]]: ...
