"""PostgreSQL to live documents, within the request that changed what they tell of.

A book's documents are written about once a second while work goes on. The last state always arrives: a change of phase
or status is never held back, what was held back is written by whoever works on the book (`refresh.py`), and what a dead
process left behind by `reconcile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from uuid import UUID

import structlog

from shared.domain.errors import Unavailable
from shared.domain.failures import describe, stack_of
from shared.domain.jobs import Job
from shared.domain.stages import JobType
from shared.ports import Change, Clock, Document, LiveDocuments, Projections, Telemetry, Tombstone

log = structlog.get_logger()

SLICE = 100

# A deletion costs less than a document, and there are as many as jobs end.
DELETED_FOR_EACH_WRITTEN = 10


@dataclass(frozen=True, kw_only=True)
class Projector:
    projections: Projections
    live_documents: LiveDocuments
    clock: Clock
    telemetry: Telemetry

    def project(self, job: Job, change: Change) -> None:
        """Write what the job changed. What can't be written now is left to `reconcile`."""
        with _left_to_reconcile(job_id=job.job_id), self.telemetry.span("project"):
            if job.type is JobType.BOOK_PROCESSING:
                self._write_book(job.book_id, change.documents)
            elif change.book_is_due and self.projections.acquire_write_window(job.book_id, self.clock()):
                self._write(job.book_id, [*change.documents, *self.projections.of_book(job.book_id)])
            else:
                self._write(job.book_id, change.documents)

    def project_changes(self, changed: Sequence[Job]) -> None:
        """Write at once what happened to many jobs, and their books, outside their own stages; or leave it as above."""
        for book_id in dict.fromkeys(job.book_id for job in changed):
            jobs = [job for job in changed if job.book_id == book_id]
            with _left_to_reconcile(book_id=str(book_id)), self.telemetry.span("project"):
                self._write_book(book_id, self.projections.of_jobs(jobs))

    def project_held_back(self, book_id: UUID) -> None:
        """Write the book's own documents if a change was held back and may be written now, or leave it as above."""
        with _left_to_reconcile(book_id=str(book_id)):
            if self.projections.acquire_write_window(book_id, self.clock()):
                self._write(book_id, self.projections.of_book(book_id))

    def project_book(self, book_id: UUID, *, chapters: bool = True) -> None:
        """Write the book's documents and those of all its `chapters`, or leave it as above."""
        with _left_to_reconcile(book_id=str(book_id)):
            self._write(book_id, self.projections.of_book(book_id, chapters=chapters))

    def delete_obsolete(self, book_id: UUID) -> None:
        """Delete the book's documents that must not be there, or leave it as above."""
        with _left_to_reconcile(book_id=str(book_id)):
            self._delete(self.projections.obsolete(book_id))

    def project_lagging(self, limit: int) -> int:
        """Write documents that are missing or behind, at most `limit`, delete those that must not be there, and return
        how many were written. Raises Unavailable when all else is done, if some can't be written or deleted.

        In slices; in one that is refused, each document for itself, but a book's own together.
        """
        lagging = [list(d) for _, d in groupby(self.projections.lagging(self.clock(), limit), _written_with)]
        failures: list[Exception] = []
        written = sum(self._put(lagging[i : i + SLICE], failures) for i in range(0, len(lagging), SLICE))
        try:
            obsolete = self.projections.all_obsolete(DELETED_FOR_EACH_WRITTEN * limit)
            for gone in (obsolete[i : i + limit] for i in range(0, len(obsolete), limit)):
                self._delete(gone)
        except Unavailable as error:
            failures.append(error)
        except Exception as error:
            _log(error)
            failures.append(error)
        if failures:
            raise next(
                (error for error in failures if isinstance(error, Unavailable)),
                Unavailable(f"{len(failures)} of the live documents can't be written; the log says which and why"),
            )
        return written

    def _put(self, lagging: Sequence[Sequence[Document]], failures: list[Exception]) -> int:
        """Write what can be written, and return how many; add why the rest can't be."""
        documents = list(chain(*lagging))
        try:
            self.live_documents.put(documents)
            self.projections.mark_projected(documents)
            return len(documents)
        except Unavailable as error:
            failures.append(error)
            return 0
        except Exception as error:
            if len(lagging) > 1:
                return sum(self._put([together], failures) for together in lagging)
            _log(error, path=documents[0].path)
            failures.append(error)
            return 0

    def _write_book(self, book_id: UUID, others: Sequence[Document]) -> None:
        """Write the book's document, those of all its chapters, and the others."""
        self._write(book_id, [*others, *self.projections.of_book(book_id, chapters=True)])

    def _write(self, book_id: UUID, documents: Sequence[Document]) -> None:
        """Write, then delete what became obsolete between reading and writing."""
        self.live_documents.put(documents)
        self._delete(self.projections.mark_projected(documents, book_id))

    def _delete(self, obsolete: Sequence[Tombstone]) -> None:
        if obsolete:
            self.live_documents.delete(obsolete)
            self.projections.mark_deleted(obsolete, self.clock())


def _written_with(document: Document) -> str:
    """The path of the document whose row says that this one is written, too."""
    return document.path.removesuffix("/live/grid")


@contextmanager
def _left_to_reconcile(**about: str) -> Iterator[None]:
    """Whatever goes wrong costs the document alone, for a while: not the work that it tells of."""
    try:
        yield
    except Exception as error:
        _log(error, **about)


def _log(error: Exception, **about: str) -> None:
    if isinstance(error, Unavailable):
        log.warning("project.unavailable", **about, error=str(error))
    else:
        # No message: it might tell of a text.
        failure = describe(error)
        log.error(
            "project.failed", **about, error_class=failure.error_class, place=failure.place, stack_trace=stack_of(error)
        )
