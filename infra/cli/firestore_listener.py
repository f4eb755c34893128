"""A real Firestore listener: of a deployment with a user's token, or of the emulator."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from google.cloud import firestore
from google.oauth2.credentials import Credentials

OnDocument = Callable[[str, dict[str, Any]], None]


def listen(
    environment: Mapping[str, str], token: str | None, book_id: str, on_document: OnDocument
) -> Callable[[], None]:
    """Calls back for the book and its chapters, now and at each change; returns what ends it."""
    if host := environment.get("FIRESTORE_EMULATOR_HOST"):
        os.environ["FIRESTORE_EMULATOR_HOST"] = host
    credentials = Credentials(token=token) if token else None  # type: ignore[no-untyped-call]
    client = firestore.Client(project=environment["GOOGLE_CLOUD_PROJECT"], credentials=credentials)

    def on_change(documents: Any, changes: Any, read_time: Any) -> None:
        for change in changes:
            document = change.document
            on_document("/".join(document.reference._path), document.to_dict())

    book = client.document(f"books/{book_id}")
    watches = [book.on_snapshot(on_change), chapters_of(book, token).on_snapshot(on_change)]

    def stop() -> None:
        for watch in watches:
            watch.unsubscribe()
        client.close()

    return stop


def chapters_of(book: Any, token: str | None) -> Any:
    """The chapters that this user may read: rules are no filters, so a query must ask for no more than they allow."""
    claims = _claims(token)
    chapters = book.collection("chapters")
    if not claims or claims.get("admin") is True:
        return chapters
    return chapters.where(filter=firestore.FieldFilter("owner_uid", "==", claims.get("sub")))


def _claims(token: str | None) -> dict[str, Any]:
    """What a token says; whether that is true is for Firestore to find out."""
    if not token:
        return {}
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
