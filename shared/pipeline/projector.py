"""PostgreSQL to live documents, within the request that changed what they tell of.

A book's document is written about once a second while work goes on. The last state always arrives: a change of phase or
status is never held back, and what a held-back change or a dead process left behind is written by `reconcile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.domain.errors import Unavailable
from shared.domain.jobs import Job
from shared.domain.stages import JobType
from shared.ports import Clock, Document, LiveDocuments, Projections, Tombstone

log = structlog.get_logger()

MIN_SECONDS = 1.0
SLICE = 100


# A deletion costs less than a document, and there are as many as jobs end.
DELETED_FOR_EACH_WRITTEN = 10


@dataclass(frozen=True, kw_only=True)
class Projector:
    projections: Projections
    live_documents: LiveDocuments
    clock: Clock

    def project(self, job: Job) -> None:
        """Write what the job changed. A live document that can't be written now is left to `reconcile`."""
        try:
            documents = self.projections.of_jobs([job])
            if job.type is JobType.BOOK_PROCESSING:
                self.project_book(job.book_id, documents)
            elif self.projections.acquire_write_window(job.book_id, self.clock(), MIN_SECONDS):
                self._write(job.book_id, documents + self.projections.of_book(job.book_id))
            else:
                self._write(job.book_id, documents)
        except Unavailable as error:
            log.warning("project.unavailable", job_id=job.job_id, error=str(error))

    def project_changes(self, changed: Sequence[Job]) -> None:
        """Write at once what happened to many jobs, and their books, outside their own stages."""
        for book_id in dict.fromkeys(job.book_id for job in changed):
            jobs = [job for job in changed if job.book_id == book_id]
            try:
                self.project_book(book_id, self.projections.of_jobs(jobs))
            except Unavailable as error:
                log.warning("project.unavailable", book_id=str(book_id), error=str(error))

    def project_book(self, book_id: UUID, others: Sequence[Document] = ()) -> None:
        """Write the book's document, those of all its chapters, and the others. Raises Unavailable."""
        self._write(book_id, [*others, *self.projections.of_book(book_id, chapters=True)])

    def project_lagging(self, limit: int) -> int:
        """Write documents that are missing or behind, at most `limit`, and return how many. Raises Unavailable.

        In slices, the others of which are written though one is not. Then those are deleted that must not be there.
        """
        lagging = self.projections.lagging(self.clock(), limit)
        written, failure = 0, None
        for some in (lagging[i : i + SLICE] for i in range(0, len(lagging), SLICE)):
            try:
                self.live_documents.put(some)
                self.projections.mark_projected(some)
                written += len(some)
            except Unavailable as error:
                failure = error
        obsolete = self.projections.all_obsolete(DELETED_FOR_EACH_WRITTEN * limit)
        for gone in (obsolete[i : i + limit] for i in range(0, len(obsolete), limit)):
            self._delete(gone)
        if failure:
            raise failure
        return written

    def _write(self, book_id: UUID, documents: Sequence[Document]) -> None:
        """Write, then delete what became obsolete between reading and writing."""
        self.live_documents.put(documents)
        self.projections.mark_projected(documents)
        self.delete_obsolete(book_id)

    def delete_obsolete(self, book_id: UUID) -> None:
        """Delete the book's documents that must not be there. Raises Unavailable."""
        self._delete(self.projections.obsolete(book_id))

    def _delete(self, obsolete: Sequence[Tombstone]) -> None:
        if obsolete:
            self.live_documents.delete(obsolete)
            self.projections.mark_deleted(obsolete, self.clock())
