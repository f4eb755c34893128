"""Cancels, resumes, deletes and shares books."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import structlog

from shared.pipeline.outbox import Outbox
from shared.pipeline.projector import Projector
from shared.ports import Clock, Control

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ControlBook:
    """`owner_uid` None stands for an administrator. All raise UnknownBook and Unavailable."""

    control: Control
    outbox: Outbox
    projector: Projector
    clock: Clock

    def cancel(self, owner_uid: str | None, book_id: UUID) -> None:
        """End all work on the book; what is done is kept. Raises InvalidState if no work is under way."""
        ended = self.control.cancel(owner_uid, book_id, self.clock())
        log.info("book.cancelled", book_id=str(book_id), jobs=len(ended))
        self.projector.project_changes(ended)
        self.outbox.publish()

    def resume(self, owner_uid: str | None, book_id: UUID) -> None:
        """Go on with what was not done. Raises InvalidState if the book is not cancelled."""
        begun = self.control.resume(owner_uid, book_id, self.clock())
        log.info("book.resumed", book_id=str(book_id), jobs=len(begun))
        self.projector.project_changes(begun)
        self.outbox.publish()

    def delete(self, owner_uid: str | None, book_id: UUID) -> None:
        """Delete rows, vectors, jobs and live documents. A late result of an attempt is not written."""
        self.control.delete(owner_uid, book_id, self.clock())
        log.info("book.deleted", book_id=str(book_id))
        self.projector.delete_obsolete(book_id)
        self.outbox.publish()

    def set_readers(self, owner_uid: str | None, book_id: UUID, readers: Collection[str]) -> None:
        """Let these users, and no others, read and search the book and listen to it, beside its owner."""
        self.control.set_readers(owner_uid, book_id, readers, self.clock())
        log.info("book.shared", book_id=str(book_id), readers=len(readers))
        self.projector.project_book(book_id, chapters=False)
