"""Live documents in memory, with listeners and Firestore's semantics: for one process and for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from uuid import UUID

from shared.domain.errors import Unavailable
from shared.ports import Document, LiveChanges, Removal, Tombstone

OnChange = Callable[[Document], None]


class MemoryLiveDocuments:
    """Keeps the newest of each document. Listeners are called one change at a time, in order."""

    def __init__(self) -> None:
        self._documents: dict[str, Document] = {}
        self._listeners: dict[int, Callable[[LiveChanges], None]] = {}
        self._lock = threading.RLock()
        self._next = 0

    def put(self, documents: Sequence[Document]) -> None:
        with self._lock:
            newer = []
            for document in documents:
                known = self._documents.get(document.path)
                if known is None or known.revision < document.revision:
                    self._documents[document.path] = document
                    newer.append(document)
            self._tell(newer)

    def delete(self, tombstones: Sequence[Tombstone]) -> None:
        with self._lock:
            gone = []
            for tombstone in tombstones:
                known = self._documents.get(tombstone.path)
                if known and known.revision < tombstone.revision:
                    del self._documents[tombstone.path]
                    gone.append(Removal(path=tombstone.path))
            self._tell(gone)

    def older_than(self, revision: int, limit: int) -> Sequence[str]:
        return [d.path for d in self.all() if d.revision < revision][:limit]

    def newest_revision(self) -> int:
        return max((d.revision for d in self.all()), default=0)

    def clear(self) -> None:
        """Lose all documents, as Firestore's emulator does when it is restarted. Listeners are not told."""
        with self._lock:
            self._documents.clear()

    def get(self, path: str) -> Document | None:
        with self._lock:
            return self._documents.get(path)

    def all(self) -> list[Document]:
        with self._lock:
            return sorted(self._documents.values(), key=lambda d: d.path)

    def listen(self, prefix: str, on_change: OnChange) -> Callable[[], None]:
        """Call back for what is there and for each change of documents whose path begins so.

        Returns what ends it.
        """

        def hear(changes: LiveChanges) -> None:
            for change in changes:
                if isinstance(change, Document) and change.path.startswith(prefix):
                    on_change(change)

        return self._add(hear)

    def listen_to_book(
        self,
        book_id: UUID,
        hear: Callable[[LiveChanges], None],
        lose: Callable[[Unavailable], None],
        *,
        chapters: bool = False,
    ) -> Callable[[], None]:
        """Nothing is ever lost: `lose` is not called."""
        book = f"books/{book_id}"
        own, of_chapters = (book, f"{book}/live/grid"), f"{book}/chapters/"

        def hear_of_book(changes: LiveChanges) -> None:
            hear([c for c in changes if c.path in own or (chapters and c.path.startswith(of_chapters))])

        return self._add(hear_of_book)

    def _add(self, hear: Callable[[LiveChanges], None]) -> Callable[[], None]:
        with self._lock:
            key = self._next = self._next + 1
            self._listeners[key] = hear
            hear(self.all())
        return lambda: self._forget(key)

    def _forget(self, key: int) -> None:
        with self._lock:
            self._listeners.pop(key, None)

    def _tell(self, changes: LiveChanges) -> None:
        for hear in list(self._listeners.values()) if changes else ():
            hear(changes)
