"""A real Firestore listener: of a deployment with a user's token, or of the emulator."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from google.api_core.bidi import ResumableBidiRpc
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import firestore
from google.cloud.firestore_v1 import watch as firestore_watch
from google.oauth2.credentials import Credentials

from infra.cli.listeners import Listener, Unwatchable

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


class QuietWatch(firestore_watch.Watch):  # type: ignore[misc]
    """Keeps the `reason` of its end, which Firestore's client would raise in a thread of its own: a traceback."""

    reason: object = None

    def close(self, reason: object = None) -> None:
        self.reason = self.reason or reason
        super().close()


class FirestoreListener(Listener):
    """Hears of a book, and of its chapters by the document that packs their states.

    Raises Unwatchable if Firestore would not know who asks.
    """

    def __init__(self, environment: Mapping[str, str], token: str | None, book_id: str) -> None:
        super().__init__(_name(environment))
        self._client = _client(environment, token)
        book = self._client.document(f"books/{book_id}")
        self._watches = [
            QuietWatch.for_document(document, self._hear, firestore.DocumentSnapshot)
            for document in (book, book.collection("live").document("grid"))
        ]

    def _hear(self, documents: Any, changes: Any, read_time: Any) -> None:
        self.answered()
        for change in changes:
            document = change.document
            self.put(document.reference.path, document.to_dict())

    def is_active(self) -> bool:
        return all(watch.is_active for watch in self._watches)

    def why_it_ended(self) -> str:
        return next((str(watch.reason) for watch in self._watches if watch.reason), "")

    def close(self) -> None:
        for watch in self._watches:
            watch.unsubscribe()
        self._client.close()


def _name(environment: Mapping[str, str]) -> str:
    emulator = environment.get("FIRESTORE_EMULATOR_HOST")
    return f"Firestore's emulator at {emulator}" if emulator else f"Firestore of {environment['GOOGLE_CLOUD_PROJECT']}"


def _client(environment: Mapping[str, str], token: str | None) -> Any:
    if host := environment.get("FIRESTORE_EMULATOR_HOST"):
        os.environ["FIRESTORE_EMULATOR_HOST"] = host
    credentials = Credentials(token=token) if token else None  # type: ignore[no-untyped-call]
    try:
        return firestore.Client(project=environment["GOOGLE_CLOUD_PROJECT"], credentials=credentials)
    except DefaultCredentialsError:
        raise Unwatchable(
            "Firestore asks who you are: give --token, or set FIRESTORE_EMULATOR_HOST if it is the emulator"
        ) from None
