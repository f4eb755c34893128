"""Bindery's API and live documents, as the CLI uses them: against the local stack or a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from infra.cli.listeners import EventsListener, Listener, ListenFailed, Unwatchable, harmless
from shared.loopback import LOOPBACK

_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_NO_SUCH_API = (404, 405, 501)
"""What a server answers that knows nothing of Bindery's paths."""


class ApiError(Exception):
    """The API said no. `status` is HTTP's, 0 if it could not be reached; `code` is the problem's, if it has one."""

    def __init__(self, status: int, detail: str, code: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class _Bearer(AuthBase):
    """Else an entry of ~/.netrc would take the token's place."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


@dataclass(frozen=True, kw_only=True)
class Client:
    """`environment` is a local stack's, or names the Firestore of a deployment (or emulator) as Google's clients do.

    `retries` says which requests are sent again, and when; without it, none. Several threads may share a client, and
    send `requests_at_once`.
    """

    url: str
    token: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    retries: Retry | None = None
    requests_at_once: int = 1

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        if self.token:
            session.auth = _Bearer(self.token)
        if self.retries is not None:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=self.retries, pool_maxsize=self.requests_at_once))
        # No proxy stands before the loopback interface, or is to see what goes there.
        session.trust_env = not self._is_here
        return session

    @property
    def _is_here(self) -> bool:
        try:
            return urlsplit(self.url).hostname in LOOPBACK
        except ValueError:
            return False

    def get(self, path: str, **query: Any) -> Any:
        """Raises ApiError."""
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Raises ApiError."""
        return self._call("POST", path, json=body, headers=headers)

    def put(self, path: str, body: Any) -> Any:
        """Raises ApiError."""
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> None:
        """Raises ApiError."""
        self._call("DELETE", path)

    def _call(self, method: str, path: str, **how: Any) -> Any:
        try:
            reply = self._request(method, path, **how)
            answer = harmless(reply.json()) if reply.content and _is_json(reply) else None
        except (requests.RequestException, ValueError) as error:
            raise self._unreachable(error) from error
        if not reply.ok and isinstance(answer, dict) and "detail" in answer:
            raise ApiError(reply.status_code, str(answer["detail"]), str(answer.get("code", "")))
        if not reply.ok or (reply.content and answer is None):
            status = 0 if reply.ok or reply.status_code in _NO_SUCH_API else reply.status_code
            said = f"{reply.status_code} {reply.reason}".strip()
            raise ApiError(status, f"{self.url} answers {said}, but not as Bindery does: is this its address?")
        return answer

    def _request(self, method: str, path: str, **how: Any) -> requests.Response:
        seconds = (_CONNECT_SECONDS, _ANSWER_SECONDS)
        return self._session.request(method, f"{self.url.rstrip('/')}{path}", timeout=seconds, **how)

    def _unreachable(self, error: Exception) -> ApiError:
        match error:
            case requests.Timeout():
                why = f"no answer for {_ANSWER_SECONDS} s"
            case requests.exceptions.SSLError():
                why = "its certificate can't be trusted"
            case requests.ConnectionError():
                why = "nobody answers there"
            case _:
                why = type(error).__name__
        return ApiError(0, f"can't reach {self.url}: {why}")

    def listen(self, book_id: str) -> Listener:
        """Hears of the book's live documents. Raises ApiError, Unwatchable."""
        if "GOOGLE_CLOUD_PROJECT" in self.environment:
            from infra.cli.firestore_listener import FirestoreListener

            return FirestoreListener(self.environment, self.token, book_id)
        if self._is_here:
            return self._listen_to_events(book_id)
        raise Unwatchable(
            f"where are the live documents of {self.url}? Name their Google Cloud project by --project or"
            " GOOGLE_CLOUD_PROJECT; if they are the emulator's, FIRESTORE_EMULATOR_HOST too"
        )

    def _listen_to_events(self, book_id: str) -> Listener:
        try:
            reply = self._request("GET", f"/api/books/{book_id}/events", stream=True)
        except (requests.RequestException, ValueError) as error:
            raise self._unreachable(error) from error
        if not reply.ok:
            reply.close()
            raise ListenFailed(f"{self.url} does not tell of the book: {reply.status_code} {reply.reason}".strip())
        return EventsListener(reply)


def _is_json(reply: requests.Response) -> bool:
    return "json" in reply.headers.get("Content-Type", "")
