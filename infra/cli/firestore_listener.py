"""A real Firestore listener: of a deployment with a user's token, or of the emulator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from uuid import UUID

from google.auth.exceptions import DefaultCredentialsError
from google.oauth2.credentials import Credentials

from infra.cli.listeners import Listener, Unwatchable
from shared.adapters.google.firestore_listeners import FirestoreLiveBooks
from shared.domain.errors import Unavailable
from shared.ports import Document, LiveChanges


class FirestoreListener(Listener):
    """Hears of a book, and of its chapters by the document that packs their states.

    Raises Unwatchable if Firestore would not know who asks.
    """

    def __init__(self, environment: Mapping[str, str], token: str | None, book_id: str) -> None:
        super().__init__(_name(environment))
        self._lost: Unavailable | None = None
        if host := environment.get("FIRESTORE_EMULATOR_HOST"):
            os.environ["FIRESTORE_EMULATOR_HOST"] = host
        credentials = Credentials(token=token) if token else None  # type: ignore[no-untyped-call]
        self._books = FirestoreLiveBooks(environment["GOOGLE_CLOUD_PROJECT"], credentials=credentials)
        try:
            self._stop = self._books.listen_to_book(UUID(book_id), self._hear, self._lose)
        except DefaultCredentialsError:
            raise Unwatchable(
                "Firestore asks who you are: give --token, or set FIRESTORE_EMULATOR_HOST if it is the emulator"
            ) from None

    def _hear(self, changes: LiveChanges) -> None:
        self.answered()
        for change in changes:
            if isinstance(change, Document):
                self.put(change.path, dict(change.fields))

    def _lose(self, why: Unavailable) -> None:
        self._lost = self._lost or why

    def is_active(self) -> bool:
        return self._lost is None

    def why_it_ended(self) -> str:
        return str(self._lost or "")

    def close(self) -> None:
        self._stop()
        self._books.close()


def _name(environment: Mapping[str, str]) -> str:
    emulator = environment.get("FIRESTORE_EMULATOR_HOST")
    return f"Firestore's emulator at {emulator}" if emulator else f"Firestore of {environment['GOOGLE_CLOUD_PROJECT']}"
