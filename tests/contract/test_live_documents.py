"""One suite for every store of live documents."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from infra.cli.listeners import Listener
from infra.cli.watching import follow_book
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.domain.errors import Unavailable
from shared.ports import Document, LiveBooks, LiveChanges, LiveDocuments, Removal, Tombstone

Fields = dict[str, Any]

BOOK_ID = "00000000-0000-4000-8000-0000000000b1"
BOOK = f"books/{BOOK_ID}"


@dataclass(frozen=True)
class Store:
    """A store, and how its readers see it: `read` one document, or `listen` to the fields of BOOK."""

    documents: LiveDocuments
    live_books: LiveBooks
    read: Callable[[str], Fields | None]
    listen: Callable[[Callable[[Fields], None]], Callable[[], None]]


@pytest.fixture(params=["memory", "firestore"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "memory":
        yield in_memory()
        return
    host = request.getfixturevalue("firestore_host")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", host)
    from google.cloud import firestore

    from infra.cli.firestore_listener import FirestoreListener
    from shared.adapters.google.firestore import FirestoreLiveDocuments
    from shared.adapters.google.firestore_listeners import FirestoreLiveBooks

    project = f"test-{uuid.uuid4().hex[:8]}"
    client = firestore.Client(project=project)

    def read(path: str) -> Fields | None:
        fields = client.document(path).get().to_dict()
        return fields and {k: v for k, v in fields.items() if k != "revision"}

    def listen_to_book(hear: Callable[[Fields], None]) -> Callable[[], None]:
        """As `bindery watch` does: the emulator may end a stream (RST_STREAM 8), and another one takes its place."""
        names = {"FIRESTORE_EMULATOR_HOST": host, "GOOGLE_CLOUD_PROJECT": project}
        source = BookUnderWay(lambda book_id: FirestoreListener(names, None, book_id))
        reader = threading.Thread(target=read_all, args=(source, hear))
        reader.start()

        def stop() -> None:
            source.is_over.set()
            reader.join()

        return stop

    with closing(FirestoreLiveBooks(project)) as live_books:
        yield Store(FirestoreLiveDocuments(project), live_books, read, listen_to_book)
    client.close()


class BookUnderWay:
    """What the API says of a book until `is_over` is set, and its listeners."""

    def __init__(self, listen: Callable[[str], Listener]) -> None:
        self.listen = listen
        self.is_over = threading.Event()

    def get(self, path: str, **query: Any) -> Fields:
        return {"status": "cancelled" if self.is_over.is_set() else "processing"}


def read_all(source: BookUnderWay, hear: Callable[[Fields], None]) -> None:
    for _, fields in follow_book(source, BOOK_ID, ask_after=0.5):
        if not source.is_over.is_set():
            hear(fields)


def in_memory() -> Store:
    documents = MemoryLiveDocuments()

    def read(path: str) -> Fields | None:
        found = documents.get(path)
        return None if found is None else dict(found.fields)

    def listen(hear: Callable[[Fields], None]) -> Callable[[], None]:
        return documents.listen(BOOK, lambda document: hear(dict(document.fields)))

    return Store(documents, documents, read, listen)


def book(revision: int, **fields: Any) -> Document:
    return Document(path=BOOK, revision=revision, fields=fields)


def test_a_document_is_kept_as_it_was_put(store: Store) -> None:
    put, read = store.documents.put, store.read
    fields = {"title": "T", "n": 3, "nested": {"total": 2}, "none": None, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    put([book(1, **fields)])

    assert read(BOOK) == fields
    assert read("books/b2") is None


def test_an_older_revision_never_replaces_a_newer_one(store: Store) -> None:
    put, read = store.documents.put, store.read
    for revision, progress in ((5, 50), (4, 40), (5, 99)):
        put([book(revision, progress=progress)])
    assert read(BOOK) == {"progress": 50}

    put([book(6, progress=60)])
    assert read(BOOK) == {"progress": 60}


def test_of_two_in_one_call_the_newer_stays(store: Store) -> None:
    store.documents.put([book(2, progress=20), book(1, progress=10)])
    assert store.read(BOOK) == {"progress": 20}


def test_a_nested_field_is_replaced_not_merged(store: Store) -> None:
    store.documents.put([book(1, chapters={"total": 2, "failed": 1})])
    store.documents.put([book(2, chapters={"total": 2})])
    assert store.read(BOOK) == {"chapters": {"total": 2}}


def test_twelve_writers_of_a_hot_document_end_with_the_newest(store: Store) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: store.documents.put([book(n, progress=n)]), range(1, 41)))
    assert store.read(BOOK) == {"progress": 40}


def test_many_documents_go_in_one_call_and_can_be_deleted(store: Store) -> None:
    documents, read = store.documents, store.read
    paths = [f"{BOOK}/chapters/{n:04d}" for n in range(1, 901)]
    documents.put([Document(path=p, revision=1, fields={"n": i}) for i, p in enumerate(paths)])
    documents.delete([Tombstone(path=p, revision=2) for p in paths[:450]])

    assert read(paths[0]) is None
    assert read(paths[899]) == {"n": 899}


def test_a_tombstone_leaves_a_document_that_is_newer_and_one_that_is_not_there(store: Store) -> None:
    store.documents.put([book(5, progress=50)])
    store.documents.delete([Tombstone(path=BOOK, revision=4), Tombstone(path="books/none", revision=4)])
    assert store.read(BOOK) == {"progress": 50}
    store.documents.delete([Tombstone(path=BOOK, revision=6)])
    assert store.read(BOOK) is None


def test_a_listener_hears_what_is_there_and_what_changes(store: Store) -> None:
    """Not what changes while it begins: Firestore's emulator loses that now and then, for its first listener."""
    heard: list[int] = []
    begun, done = threading.Event(), threading.Event()

    def hear(fields: Any) -> None:
        heard.append(fields["progress"])
        begun.set()
        if fields["progress"] == 100:
            done.set()

    store.documents.put([book(1, progress=10)])
    stop = store.listen(hear)
    assert begun.wait(60), "30 s are given to a listener, then another takes its place"
    store.documents.put([book(2, progress=50)])
    store.documents.put([book(3, progress=100)])

    assert done.wait(30)
    stop()
    assert heard == sorted(heard)
    assert heard[0] == 10


def test_documents_of_lower_revisions_are_listed_whatever_they_tell_of(store: Store) -> None:
    paths = [BOOK, f"{BOOK}/chapters/0001", f"{BOOK}/live/grid", "books/b2/chapters/0001", "jobs/j1"]
    older = [Document(path=p, revision=n, fields={}) for n, p in enumerate(paths)]
    newer = [Document(path=p, revision=10, fields={}) for p in ("books/b3", "books/b3/chapters/0002", "jobs/j2")]
    store.documents.put([*older, *newer])
    found = store.documents.older_than(10, 100)

    assert sorted(found) == paths
    assert len(store.documents.older_than(10, 3)) == 3
    assert store.documents.older_than(0, 100) == []


def test_the_newest_document_is_known_whatever_it_tells_of(store: Store) -> None:
    known = [store.documents.newest_revision()]
    for revision, path in enumerate(("jobs/j1", BOOK, f"{BOOK}/chapters/0001", f"{BOOK}/live/grid", "jobs/j2"), 5):
        store.documents.put([Document(path=path, revision=revision, fields={})])
        known.append(store.documents.newest_revision())

    assert known == [0, 5, 6, 7, 8, 9]


class Ear:
    """What a listener of a book hears: of each path the last, and what came at once."""

    def __init__(self, store: Store, *, chapters: bool) -> None:
        self.known: dict[str, Document | Removal] = {}
        self.at_once: list[set[str]] = []
        self._changed = threading.Condition()
        self.close = store.live_books.listen_to_book(UUID(BOOK_ID), self._hear, self._lose, chapters=chapters)

    def _hear(self, changes: LiveChanges) -> None:
        with self._changed:
            self.at_once.append({change.path for change in changes})
            self.known |= {change.path: change for change in changes}
            self._changed.notify_all()

    def _lose(self, why: Unavailable) -> None:
        raise AssertionError(why)

    def wait_for(self, *expected: Document | Removal) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: all(self.known.get(e.path) == e for e in expected), 60), self.known


CHAPTERS = [Document(path=f"{BOOK}/chapters/000{n}", revision=1, fields={"number": n}) for n in (1, 2)]


@pytest.mark.parametrize("with_chapters", [True, False])
def test_a_book_is_listened_to_with_its_chapters_if_they_are_asked_for(store: Store, with_chapters: bool) -> None:
    of_others = Document(path="books/b2", revision=1, fields={})
    store.documents.put([book(1), *CHAPTERS, of_others, Document(path="jobs/j1", revision=1, fields={})])
    with closing(Ear(store, chapters=with_chapters)) as ear:
        ear.wait_for(book(1), *(CHAPTERS if with_chapters else ()))
        store.documents.delete([Tombstone(path=CHAPTERS[1].path, revision=2)])
        if with_chapters:
            ear.wait_for(Removal(path=CHAPTERS[1].path))
        store.documents.put([book(2)])
        ear.wait_for(book(2))

    assert set(ear.known) == {BOOK, *(c.path for c in CHAPTERS if with_chapters)}


def test_a_books_own_documents_are_heard_together_and_that_they_are_gone(store: Store) -> None:
    grid = Document(path=f"{BOOK}/live/grid", revision=2, fields={"embeddings": "#"})
    store.documents.put([book(1)])
    with closing(Ear(store, chapters=False)) as ear:
        ear.wait_for(book(1))
        store.documents.put([book(2), grid])
        ear.wait_for(book(2), grid)
        store.documents.delete([Tombstone(path=path, revision=3) for path in (BOOK, grid.path)])
        ear.wait_for(Removal(path=BOOK), Removal(path=grid.path))

    assert {BOOK, grid.path} in ear.at_once


def test_nothing_is_heard_once_it_has_ended(store: Store) -> None:
    ear, other = Ear(store, chapters=True), Ear(store, chapters=True)
    ear.close()
    with closing(other):
        store.documents.put([book(1)])
        other.wait_for(book(1))
    assert ear.known == {}
