"""Live documents whose store refuses them for no good reason: the work goes on, and they are written later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.domain.errors import Unavailable
from shared.domain.stages import JobType
from shared.ports import Document, Tombstone
from tests.support.world import World, manuscript


class RefusingLiveDocuments(MemoryLiveDocuments):
    """Refuses what is in a path that `refuses`, by an error that nobody expects; all that is sent with it, too."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str], bool] = lambda path: False

    def put(self, documents: Sequence[Document]) -> None:
        self._refuse(documents)
        super().put(documents)

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        self._refuse(tombstones)
        super().delete(tombstones)

    def _refuse(self, sent: Sequence[Document | Tombstone]) -> None:
        if any(self.refuses(one.path) for one in sent):
            raise ValueError("a field of the document, with its text")


@dataclass
class Projected:
    world: World
    documents: RefusingLiveDocuments

    def reconcile(self) -> None:
        self.world.clock.advance(60)
        self.world.app.reconcile()

    def status(self, book_id: str) -> object:
        document = self.documents.get(f"books/{book_id}")
        return document and document.fields["status"]


@pytest.fixture
def projected(dsn: str) -> Iterator[Projected]:
    documents = RefusingLiveDocuments()
    with closing(World(dsn, overrides={"live_documents": documents})) as world:
        yield Projected(world, documents)


def test_a_book_whose_live_documents_are_refused_is_completed_at_the_first_attempt(projected: Projected) -> None:
    world = projected.world
    projected.documents.refuses = lambda path: True
    with capture_logs() as logs:
        book_id = world.import_book(manuscript(2))
        world.run()
    projected.documents.refuses = lambda path: False
    before = projected.status(book_id)
    projected.reconcile()

    assert world.status(book_id)["status"] == "completed"
    assert world.rows("SELECT max(attempts) AS attempts FROM jobs") == [{"attempts": 1}]
    assert (before, projected.status(book_id)) == (None, "completed")
    told = [entry for entry in logs if entry["event"] == "project.failed"]
    assert {(e["error_class"], e["place"]) for e in told} == {("ValueError", "test_projector.py:_refuse")}
    assert "its text" not in str(told)


def test_the_next_jobs_wait_for_no_live_document(world: World) -> None:
    waiting: list[set[str]] = []

    def hear(document: Document) -> None:
        if document.fields["state"] == "completed":
            waiting.append({m.topic for m in world.broker.waiting})

    book_id = world.import_book(manuscript(2))
    world.live_documents.listen(f"jobs/book-{book_id}", hear)
    world.deliver(world.take(JobType.BOOK_PROCESSING))

    assert waiting == [{JobType.CONTEXT_EXTRACTION, JobType.CHAPTER_PROCESSING, JobType.EMBEDDING_GENERATION}]


def test_a_document_that_is_refused_keeps_no_other_from_being_written(projected: Projected) -> None:
    books = [projected.world.import_book(manuscript(1, name=str(n)), f"Book {n}") for n in range(3)]
    projected.world.run()
    projected.documents.clear()
    projected.world.app.projections.mark_unprojected(None)
    projected.documents.refuses = lambda path: path == f"books/{books[1]}"
    with pytest.raises(Unavailable, match="1 of the live documents"):
        projected.reconcile()
    first = [projected.status(b) for b in books]
    projected.documents.refuses = lambda path: False
    projected.reconcile()

    assert first == ["completed", None, "completed"]
    assert [projected.status(b) for b in books] == ["completed"] * 3
    assert projected.world.app.projections.count_lagging(projected.world.clock()) == 0


def test_a_book_is_not_written_before_both_its_documents_are(projected: Projected) -> None:
    books = [projected.world.import_book(manuscript(1, name=str(n)), f"Book {n}") for n in range(2)]
    projected.world.run()
    projected.documents.clear()
    projected.world.app.projections.mark_unprojected(None)
    grids = [f"books/{book_id}/live/grid" for book_id in books]
    projected.documents.refuses = lambda path: path == grids[0]
    with pytest.raises(Unavailable, match="1 of the live documents"):
        projected.reconcile()
    first = [projected.documents.get(grid) is not None for grid in grids]
    projected.documents.refuses = lambda path: False
    projected.reconcile()

    assert first == [False, True]
    assert all(projected.documents.get(grid) for grid in grids)


def test_a_book_is_deleted_though_its_live_documents_are_kept(projected: Projected) -> None:
    book_id = projected.world.import_book(manuscript(1))
    projected.world.run()
    projected.documents.refuses = lambda path: True
    deleted = projected.world.call("DELETE", f"/api/books/{book_id}").status_code
    with pytest.raises(Unavailable):
        projected.reconcile()
    kept = projected.status(book_id)
    projected.documents.refuses = lambda path: False
    projected.reconcile()

    assert (deleted, kept, projected.status(book_id)) == (204, "completed", None)
