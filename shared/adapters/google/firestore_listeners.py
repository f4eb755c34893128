"""Listens to the live documents of books in Firestore, or in its emulator where FIRESTORE_EMULATOR_HOST says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from google.api_core.bidi import ResumableBidiRpc
from google.auth.credentials import Credentials
from google.cloud import firestore
from google.cloud.firestore_v1 import watch as firestore_watch

from shared.domain.errors import Unavailable
from shared.ports import Document, LiveChanges, Removal

# Its warnings are of its own threads: nothing that a person could act on.
logging.getLogger("google.api_core.bidi").setLevel(logging.CRITICAL)


class PausingStream(ResumableBidiRpc):
    """A stream that is opened anew 5 times in 10 seconds at most, and not once it is closed.

    As Firestore's client makes it, while Firestore refuses, that would be 3,000 times a second. Pub/Sub's client pauses
    since googleapis/google-cloud-python 7910.
    """

    _is_closed = False

    def __init__(self, start_rpc: Any, **options: Any) -> None:
        super().__init__(start_rpc, **options, throttle_reopen=True)  # type: ignore[no-untyped-call]

    def open(self) -> None:
        if not self._is_closed:  # it may have been during a pause
            super().open()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._is_closed = True
        super().close()  # type: ignore[no-untyped-call]


firestore_watch.ResumableBidiRpc = PausingStream


class _Watch(firestore_watch.Watch):  # type: ignore[misc]
    """Hands on changes by `hear`, and says by `lose` that it ended, however it did: Firestore's client would raise that
    in a thread of its own, or say nothing."""

    def __init__(
        self,
        subject: Any,
        target: Any,
        hear: Callable[[LiveChanges], None],
        lose: Callable[[Unavailable], None],
        client: firestore.Client,
    ) -> None:
        self._hear, self._lose = hear, lose
        self._is_stopping = False
        target = {**target, "target_id": firestore_watch.WATCH_TARGET_ID}
        super().__init__(subject, client, target, _by_path, self._take, firestore.DocumentSnapshot)

    def _take(self, documents: Any, changes: Any, read_time: Any) -> None:
        self._hear([_change(change) for change in changes])

    def on_snapshot(self, proto: Any) -> None:
        try:
            super().on_snapshot(proto)
        except Exception as error:
            self._say_why(error)
            raise  # it ends the thread that reads

    def close(self, reason: object = None) -> None:
        super().close()
        if not self._is_stopping:
            self._say_why(reason)

    def _say_why(self, reason: object) -> None:
        self._lose(Unavailable(f"Firestore: {reason or 'the listener ended'}"))

    def stop(self) -> None:
        self._is_stopping = True
        self.close()


def _by_path(one: Any, other: Any) -> int:
    a, b = one.reference.path, other.reference.path
    return int(a > b) - int(a < b)


def _change(change: Any) -> Document | Removal:
    path = change.document.reference.path
    if change.type is firestore_watch.ChangeType.REMOVED:
        return Removal(path=path)
    fields = change.document.to_dict()
    return Document(path=path, revision=fields.pop("revision", 0), fields=fields)


class FirestoreLiveBooks:
    """The client is made at first use: the server forks after import. Without `credentials`, it finds its own."""

    def __init__(self, project: str, database: str = "(default)", credentials: Credentials | None = None) -> None:
        self._where = {"project": project, "database": database, "credentials": credentials}
        self._lock = threading.Lock()
        self._client: firestore.Client | None = None

    def listen_to_book(
        self,
        book_id: UUID,
        hear: Callable[[LiveChanges], None],
        lose: Callable[[Unavailable], None],
        *,
        chapters: bool = False,
    ) -> Callable[[], None]:
        client = self._firestore()
        book = client.document(f"books/{book_id}")
        name = f"projects/{client.project}/databases/{self._where['database']}/documents/{book.path}"
        # Both in one target, so that what was written together comes together.
        targets: list[Any] = [{"documents": {"documents": [name, f"{name}/live/grid"]}}]
        if chapters:
            targets.append({"query": {"parent": name, "structured_query": {"from_": [{"collection_id": "chapters"}]}}})
        watches = [_Watch(book, target, hear, lose, client) for target in targets]

        def stop() -> None:
            for watch in watches:
                watch.stop()

        return stop

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _firestore(self) -> firestore.Client:
        with self._lock:
            if self._client is None:
                self._client = firestore.Client(**self._where)
            return self._client
