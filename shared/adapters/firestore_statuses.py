"""Live documents in Firestore, or in its emulator where FIRESTORE_EMULATOR_HOST says so.

A read, then writes that hold only if nobody wrote in between: no transaction ever waits for a hot document.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.domain.errors import Unavailable
from shared.ports import Document

if TYPE_CHECKING:
    from google.cloud import firestore

_TRIES = 10
_BATCH = 400  # Firestore takes 500 writes a batch
_SECONDS = 10.0


class FirestoreStatusStore:
    """The client is made at first use: the server forks after import."""

    def __init__(self, project: str, database: str = "(default)") -> None:
        self._project = project
        self._database = database
        self._lock = threading.Lock()
        self._client: firestore.Client | None = None

    def put(self, documents: Sequence[Document]) -> None:
        newest = {d.path: d for d in sorted(documents, key=lambda d: d.revision)}
        for batch in _batches(list(newest.values())):
            self._put(batch)

    def _put(self, documents: Sequence[Document]) -> None:
        from google.api_core import exceptions

        lost_a_race = (exceptions.FailedPrecondition, exceptions.AlreadyExists, exceptions.Aborted, exceptions.NotFound)
        try:
            for attempt in range(_TRIES):
                try:
                    return self._write_newer(documents)
                except lost_a_race:
                    time.sleep(random.random() * 0.05 * 2 ** min(attempt, 5))
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Firestore: {type(error).__name__}: {error}") from error
        raise Unavailable("Firestore: the documents are written to too often")

    def _write_newer(self, documents: Sequence[Document]) -> None:
        client = self._firestore()
        by_path = {d.path: d for d in documents}
        references = [client.document(path) for path in by_path]
        batch = client.batch()
        for known in client.get_all(references, field_paths=["revision"], timeout=_SECONDS):
            document = by_path["/".join(known.reference._path)]
            fields: dict[str, Any] = {**document.fields, "revision": document.revision}
            if not known.exists:
                batch.create(known.reference, fields)
            elif (known.get("revision") or 0) < document.revision:
                unchanged = client.write_option(last_update_time=known.update_time)
                batch.update(known.reference, fields, option=unchanged)
        if len(batch):
            batch.commit(timeout=_SECONDS)

    def delete(self, paths: Sequence[str]) -> None:
        from google.api_core import exceptions

        client = self._firestore()
        try:
            for some in _batches(paths):
                batch = client.batch()
                for path in some:
                    batch.delete(client.document(path))
                batch.commit(timeout=_SECONDS)
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(f"Firestore: {type(error).__name__}: {error}") from error

    def _firestore(self) -> firestore.Client:
        from google.cloud import firestore

        with self._lock:
            if self._client is None:
                self._client = firestore.Client(project=self._project, database=self._database)
            return self._client


def _batches(items: Sequence[Any]) -> list[list[Any]]:
    remaining = iter(items)
    return [list(b) for b in iter(lambda: list(itertools.islice(remaining, _BATCH)), [])]
