"""Bindery's API and live documents, as the CLI uses them: against the local stack or a deployment."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from shared.config import LOOPBACK

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Fields = dict[str, Any]
OnDocument = Callable[[str, Fields], None]
"""Takes a live document's path and fields."""


class ApiError(Exception):
    """The API said no. `status` is HTTP's, 0 if it could not be reached."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class ListenFailed(Exception):
    """The live documents can't be read any more."""


def harmless(value: Any) -> Any:
    """The same without control characters, which a terminal would obey: others wrote these texts."""
    if isinstance(value, str):
        return _CONTROL.sub("\ufffd", value)
    if isinstance(value, dict):
        return {k: harmless(v) for k, v in value.items()}
    return [harmless(v) for v in value] if isinstance(value, list) else value


class _Bearer(AuthBase):
    """Else an entry of ~/.netrc would take the token's place."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


@dataclass(frozen=True, kw_only=True)
class Client:
    """`environment` is a local stack's, or that of the Firestore project of a deployment."""

    url: str
    token: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        if self.token:
            session.auth = _Bearer(self.token)
        # No proxy stands before the loopback interface, or is to see what goes there.
        session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
        return session

    def get(self, path: str, **query: Any) -> Any:
        """Raises ApiError."""
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Raises ApiError."""
        return self._call("POST", path, json=body, headers=headers)

    def delete(self, path: str) -> None:
        """Raises ApiError."""
        self._call("DELETE", path)

    def _call(self, method: str, path: str, **how: Any) -> Any:
        try:
            reply = self._session.request(method, f"{self.url.rstrip('/')}{path}", timeout=60, **how)
            answer = harmless(reply.json()) if reply.content and _is_json(reply) else None
        except (requests.RequestException, ValueError) as error:
            raise ApiError(0, f"can't reach {self.url}: {type(error).__name__}") from error
        if not reply.ok:
            known = answer if isinstance(answer, dict) else {}
            raise ApiError(reply.status_code, str(known.get("detail", reply.reason)))
        if reply.content and answer is None:
            raise ApiError(0, f"{self.url} does not answer as Bindery does: is this its address?")
        return answer

    @contextmanager
    def listen(self, book_id: str) -> Iterator[Queue[tuple[str, Fields]]]:
        """The book's live documents and each of their changes, as they happen."""
        changes: Queue[tuple[str, Fields]] = Queue()

        def on_document(path: str, fields: Fields) -> None:
            changes.put((path, harmless(fields)))

        embedded = "GOOGLE_CLOUD_PROJECT" not in self.environment
        start = self._listen_to_stack if embedded else self._listen_to_firestore
        stop = start(book_id, on_document)
        try:
            yield changes
        finally:
            stop()

    def _listen_to_stack(self, book_id: str, on_document: OnDocument) -> Callable[[], None]:
        url = f"{self.url}/_local/documents"
        reply = self._session.get(url, params={"prefix": f"books/{book_id}"}, stream=True, timeout=(10, None))

        def read() -> None:
            try:
                # Not iter_lines, which holds each line back until the next one comes.
                for line in reply.raw:
                    if line.strip():
                        document = json.loads(line)
                        on_document(document["path"], document["fields"])
            except (OSError, HTTPError, AttributeError, ValueError):
                pass
            on_document("", {})

        threading.Thread(target=read, name="listener", daemon=True).start()
        # Not close, which would wait for the reading thread's next line.
        return lambda: reply.raw.shutdown()

    def _listen_to_firestore(self, book_id: str, on_document: OnDocument) -> Callable[[], None]:
        from infra.cli.firestore_listener import listen

        return listen(self.environment, self.token, book_id, on_document)


def _is_json(reply: requests.Response) -> bool:
    return "json" in reply.headers.get("Content-Type", "")


def follow(changes: Queue[tuple[str, Fields]], seconds: float) -> Iterator[tuple[str, Fields]]:
    """Documents until the queue is silent for so long; raises ListenFailed if the listener died."""
    while True:
        try:
            path, fields = changes.get(timeout=seconds)
        except Empty:
            return
        if not path:
            raise ListenFailed("the connection to the live documents was lost")
        yield path, fields
