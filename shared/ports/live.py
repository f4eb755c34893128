"""Live documents, and what PostgreSQL says they should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.domain.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Document:
    """A live document. Of two with the same path, the one with the higher `revision` is the newer."""

    path: str
    revision: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """There must be no document of that path older than `revision`."""

    path: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A live document is there no more."""

    path: str


LiveChanges = Sequence[Document | Removal]


class LiveBooks(Protocol):
    """Listens to the live documents of books."""

    def listen_to_book(
        self,
        book_id: UUID,
        hear: Callable[[LiveChanges], None],
        lose: Callable[[Unavailable], None],
        *,
        chapters: bool = False,
    ) -> Callable[[], None]:
        """Call `hear` with the book's own documents that are there, maybe none, and then with what changes of them;
        with `chapters`, of those of its chapters too. Return what ends it.

        What was written together is heard together. Between two changes of a document others may be left out; the last
        one arrives. `lose` is called if no more will come. Both are called from any thread, and must not take long.
        """
        ...


class LiveDocuments(Protocol):
    """Live documents, by path (`books/ID`, `books/ID/chapters/0001`). They only move forward."""

    def put(self, documents: Sequence[Document]) -> None:
        """Write those that are newer than what is there, and leave the rest."""
        ...

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        """Delete those that are older than their tombstone, and leave the rest."""
        ...

    def older_than(self, revision: int, limit: int) -> Sequence[str]:
        """Paths of at most `limit` documents of a lower revision."""
        ...

    def newest_revision(self) -> int:
        """The highest revision of a document; 0 if there is none."""
        ...


class Projections(Protocol):
    """The live documents as PostgreSQL says they should be."""

    def of_jobs(self, jobs: Sequence[Job]) -> list[Document]:
        """The documents of the jobs themselves and of their chapters."""
        ...

    def of_book(self, book_id: UUID, *, chapters: bool = False) -> list[Document]:
        """The book's own documents: its status, and how far its chapters are. With `chapters`, those of all chapters,
        too. Empty if there is no such book."""
        ...

    def acquire_write_window(self, book_id: UUID, now: datetime) -> bool:
        """Whether the caller may write the book's own documents now: if they show anything new, and nobody did so for a
        second, over all processes. A change of phase or status waits for no second."""
        ...

    def mark_projected(self, documents: Sequence[Document], book_id: UUID | None = None) -> list[Tombstone]:
        """Note that the live documents have reached these revisions; return what is obsolete of the book."""
        ...

    def mark_unprojected(self, book_id: UUID | None) -> int:
        """Note that all documents of the book (None: of every book) are missing; return the number of books."""
        ...

    def obsolete(self, book_id: UUID) -> list[Tombstone]:
        """The book's documents that must not be there: of a deleted book, or of chapters that are no more."""
        ...

    def all_obsolete(self, limit: int) -> list[Tombstone]:
        """Those of all books, the oldest first."""
        ...

    def mark_deleted(self, tombstones: Sequence[Tombstone], now: datetime) -> None:
        """Note that these documents were deleted. After a while, none of them is obsolete any more."""
        ...

    def lagging(self, now: datetime, limit: int) -> list[Document]:
        """Live documents that are missing, or behind for longer than a moment."""
        ...

    def count_lagging(self, now: datetime) -> int:
        """Count the books, chapters and jobs whose live documents are to be written; at most 10,000 are counted."""
        ...


class Restores(Protocol):
    """Restores of the database from a backup, after which its revisions are those of an earlier time."""

    def begin_epoch(self, now: datetime, newest_document: int) -> int:
        """Give higher revisions from now on than ever before, after the time of the backup too; return the first.

        `newest_document` is the highest revision of a live document: it counts where clocks do not agree.
        """
        ...

    def last_revision(self) -> int:
        """The highest that was given."""
        ...

    def note(self, first_revision: int, requested_by: str, now: datetime) -> None:
        """Note that from this revision on an epoch began, and that all live documents are marked as unprojected."""
        ...

    def written(self) -> int | None:
        """The first revision of the last restore, if all that was marked is written, and it is not finished."""
        ...

    def finish(self, first_revision: int, now: datetime) -> None:
        """Note that no live document of an earlier epoch is left."""
        ...

    def is_unfinished(self) -> bool: ...
