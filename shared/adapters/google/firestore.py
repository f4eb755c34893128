"""Live documents in Firestore, or in its emulator where FIRESTORE_EMULATOR_HOST says so.

A read, then writes that hold only if nobody wrote in between: no transaction ever waits for a hot document.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shared.domain.errors import Unavailable
from shared.ports import Document, Tombstone

if TYPE_CHECKING:
    from google.cloud import firestore

_TRIES = 10
_BATCH = 400  # Firestore takes 500 writes a batch
_SECONDS = 10.0  # for one request
RETRY_SECONDS = 2.0  # the pipeline waits meanwhile, and what is not written now is written by `reconcile`

Change = Document | Tombstone


class FirestoreLiveDocuments:
    """The client is made at first use: the server forks after import. A request is repeated for `retry_seconds`."""

    def __init__(self, project: str, database: str = "(default)", retry_seconds: float = RETRY_SECONDS) -> None:
        self._project = project
        self._database = database
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._client: firestore.Client | None = None

    def put(self, documents: Sequence[Document]) -> None:
        self._apply(documents)

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        self._apply(tombstones)

    def older_than(self, revision: int, limit: int) -> Sequence[str]:
        from google.cloud.firestore import FieldFilter

        with _translated():
            is_older = FieldFilter("revision", "<", revision)
            older = (kind.where(filter=is_older).select([]).limit(limit) for kind in self._kinds())
            found = (d.reference.path for query in older for d in query.stream(**self._patiently))
            return list(itertools.islice(found, limit))

    def newest_revision(self) -> int:
        with _translated():
            newest = (kind.order_by("revision", direction="DESCENDING").limit(1) for kind in self._kinds())
            found = (d.get("revision") for query in newest for d in query.stream(**self._patiently))
            return max(found, default=0)

    def _kinds(self) -> tuple[Any, ...]:
        """All documents that have a revision."""
        client = self._firestore()
        of_books = (client.collection_group(kind) for kind in ("live", "chapters"))
        return client.collection("books"), *of_books, client.collection("jobs")

    def _apply(self, changes: Sequence[Change]) -> None:
        newest = {c.path: c for c in sorted(changes, key=lambda c: c.revision)}
        for batch in _batches(list(newest.values())):
            self._try(batch)

    def _try(self, changes: Sequence[Change]) -> None:
        from google.api_core import exceptions

        last: Exception | None = None
        lost_a_race = (exceptions.FailedPrecondition, exceptions.AlreadyExists, exceptions.Aborted, exceptions.NotFound)
        with _translated():
            for attempt in range(_TRIES):
                try:
                    return self._write_newer(changes)
                except lost_a_race as error:
                    last = error
                    time.sleep(random.random() * 0.05 * 2 ** min(attempt, 5))
        raise Unavailable(f"Firestore: still conflicting after {_TRIES} tries: {type(last).__name__}: {last}")

    def _write_newer(self, changes: Sequence[Change]) -> None:
        client = self._firestore()
        by_path = {c.path: c for c in changes}
        references = [client.document(path) for path in by_path]
        batch = client.batch()
        for known in client.get_all(references, field_paths=["revision"], **self._patiently):
            change = by_path[known.reference.path]
            fields = {**change.fields, "revision": change.revision} if isinstance(change, Document) else None
            if not known.exists:
                if fields:
                    batch.create(known.reference, fields)
            elif (known.get("revision") or 0) < change.revision:
                unchanged = client.write_option(last_update_time=known.update_time)
                if fields:
                    batch.update(known.reference, fields, option=unchanged)
                else:
                    batch.delete(known.reference, option=unchanged)
        if len(batch):
            batch.commit(**self._patiently)

    @property
    def _patiently(self) -> dict[str, Any]:
        return {"retry": _retry(self._retry_seconds), "timeout": _SECONDS}

    def _firestore(self) -> firestore.Client:
        from google.cloud import firestore

        with self._lock:
            if self._client is None:
                self._client = firestore.Client(project=self._project, database=self._database)
            return self._client


@contextmanager
def _translated() -> Iterator[None]:
    """Raise Unavailable for what the client raises, when it has given up."""
    from google.api_core import exceptions

    try:
        yield
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {type(error).__name__}: {error}") from error


def _retry(seconds: float) -> object:
    """The client's own goes on for up to five minutes."""
    from google.api_core import exceptions, retry

    passing = (exceptions.ServiceUnavailable, exceptions.ResourceExhausted, exceptions.InternalServerError)
    return retry.Retry(predicate=retry.if_exception_type(*passing), initial=0.1, maximum=1.0, timeout=seconds)


def _batches(items: Sequence[Any]) -> list[list[Any]]:
    remaining = iter(items)
    return [list(b) for b in iter(lambda: list(itertools.islice(remaining, _BATCH)), [])]
