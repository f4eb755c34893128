"""One suite for every store of live documents."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.cli.listeners import Listener, ListenFailed
from infra.local.emulators import Emulators, start_firestore
from infra.local.processes import Supervisor
from shared.adapters.memory.live_documents import MemoryLiveDocuments
from shared.ports import Document, LiveDocuments, Tombstone

Read = Callable[[str], dict[str, Any] | None]
Store = tuple[LiveDocuments, Read]


@pytest.fixture(scope="module")
def firestore_host(request: pytest.FixtureRequest) -> Iterator[str]:
    emulators: Emulators = request.getfixturevalue("emulators")
    supervisor = Supervisor(lambda name, line: None)
    host = os.environ["FIRESTORE_EMULATOR_HOST"] = start_firestore(supervisor, emulators, lambda: None)
    yield host
    del os.environ["FIRESTORE_EMULATOR_HOST"]
    supervisor.close()


@pytest.fixture(params=["memory", "firestore"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        memory = MemoryLiveDocuments()
        yield memory, lambda path: (found := memory.get(path)) and dict(found.fields)
        return
    request.getfixturevalue("firestore_host")
    from google.cloud import firestore

    from shared.adapters.google.firestore import FirestoreLiveDocuments

    project = f"test-{uuid.uuid4().hex[:8]}"
    client = firestore.Client(project=project)

    def read(path: str) -> dict[str, Any] | None:
        fields = client.document(path).get().to_dict()
        return fields and {k: v for k, v in fields.items() if k != "revision"}

    yield FirestoreLiveDocuments(project), read
    client.close()


def book(revision: int, **fields: Any) -> Document:
    return Document(path="books/b1", revision=revision, fields=fields)


def test_a_document_is_kept_as_it_was_put(store: Store) -> None:
    put, read = store[0].put, store[1]
    fields = {"title": "T", "n": 3, "nested": {"total": 2}, "none": None, "at": datetime(2026, 1, 1, tzinfo=UTC)}
    put([book(1, **fields)])

    assert read("books/b1") == fields
    assert read("books/b2") is None


def test_an_older_revision_never_replaces_a_newer_one(store: Store) -> None:
    put, read = store[0].put, store[1]
    for revision, progress in ((5, 50), (4, 40), (5, 99)):
        put([book(revision, progress=progress)])
    assert read("books/b1") == {"progress": 50}

    put([book(6, progress=60)])
    assert read("books/b1") == {"progress": 60}


def test_of_two_in_one_call_the_newer_stays(store: Store) -> None:
    store[0].put([book(2, progress=20), book(1, progress=10)])
    assert store[1]("books/b1") == {"progress": 20}


def test_a_nested_field_is_replaced_not_merged(store: Store) -> None:
    store[0].put([book(1, chapters={"total": 2, "failed": 1})])
    store[0].put([book(2, chapters={"total": 2})])
    assert store[1]("books/b1") == {"chapters": {"total": 2}}


def test_twelve_writers_of_a_hot_document_end_with_the_newest(store: Store) -> None:
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: store[0].put([book(n, progress=n)]), range(1, 41)))
    assert store[1]("books/b1") == {"progress": 40}


def test_many_documents_go_in_one_call_and_can_be_deleted(store: Store) -> None:
    both, read = store
    paths = [f"books/b1/chapters/{n:04d}" for n in range(1, 901)]
    both.put([Document(path=p, revision=1, fields={"n": i}) for i, p in enumerate(paths)])
    both.delete([Tombstone(path=p, revision=2) for p in paths[:450]])

    assert read(paths[0]) is None
    assert read(paths[899]) == {"n": 899}


def test_a_tombstone_leaves_a_document_that_is_newer_and_one_that_is_not_there(store: Store) -> None:
    store[0].put([book(5, progress=50)])
    store[0].delete([Tombstone(path="books/b1", revision=4), Tombstone(path="books/none", revision=4)])
    assert store[1]("books/b1") == {"progress": 50}
    store[0].delete([Tombstone(path="books/b1", revision=6)])
    assert store[1]("books/b1") is None


def test_a_listener_hears_what_is_there_and_what_changes(store: Store) -> None:
    heard: list[int] = []
    done = threading.Event()

    def hear(fields: Any) -> None:
        heard.append(fields["progress"])
        if fields["progress"] == 100:
            done.set()

    store[0].put([book(1, progress=10)])
    stop = _listen(store[0], hear)
    store[0].put([book(2, progress=50)])
    store[0].put([book(3, progress=100)])

    assert done.wait(30)
    stop()
    assert heard == sorted(heard)


def _listen(store: LiveDocuments, hear: Callable[[Any], None]) -> Callable[[], None]:
    if isinstance(store, MemoryLiveDocuments):
        return store.listen("books/b1", lambda document: hear(document.fields))
    from infra.cli.firestore_listener import FirestoreListener

    names = {"FIRESTORE_EMULATOR_HOST": os.environ["FIRESTORE_EMULATOR_HOST"]}
    project = store._project  # type: ignore[attr-defined]
    listener = FirestoreListener(names | {"GOOGLE_CLOUD_PROJECT": project}, None, "b1")
    reader = threading.Thread(target=_read, args=(listener, hear))
    reader.start()

    def stop() -> None:
        listener.close()
        reader.join()

    return stop


def _read(listener: Listener, hear: Callable[[Any], None]) -> None:
    with suppress(ListenFailed):
        for _, fields in listener.follow(60):
            hear(fields)
