"""Bindery from Python: import manuscripts, watch books being made, search in them.

    with Bindery("http://127.0.0.1:8080") as bindery:
        book = bindery.import_book("Chapter 1 …")
        for seen in bindery.watch(book["book_id"], version=book["version"]):
            print(seen.state, seen.book and seen.book["progress"])
        print(bindery.search("who stole the letters?", book_id=book["book_id"]))

`AsyncBindery` is the same with `async with`, `await`, `async for`. A `token` may be a function, which is asked before
each request: tokens expire. With a key that acts for users, `user` names one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Self

import anyio
import httpx2

from .watching import Fields, Seen, Watch, retry_after

Token = str | Callable[[], str] | None


class BinderyError(Exception):
    """The API said no: `status` is HTTP's, `code` is one of the API's, `retry_after` is in seconds, if it said."""

    def __init__(self, response: httpx2.Response) -> None:
        is_problem = "problem+json" in response.headers.get("Content-Type", "")
        self.problem: Fields = response.json() if is_problem else {}
        self.status, self.code = response.status_code, self.problem.get("code")
        self.retry_after = retry_after(response)
        super().__init__(self.problem.get("detail") or f"{response.status_code} {response.reason_phrase}")


class _Bearer(httpx2.Auth):
    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if token := self._token() if callable(self._token) else self._token:
            request.headers["Authorization"] = f"Bearer {token}"
        yield request


class _Calls:
    """The requests of both clients: each call gives what `_call` gives for it."""

    def __init__(self, url: str, token: Token, user: str | None) -> None:
        self._settings: dict[str, Any] = {"base_url": url, "auth": _Bearer(token), "timeout": 60.0}
        self._settings["headers"] = {"Bindery-User": user} if user else {}

    def import_book(self, content: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """`book_id, job_id, version, status …`. `fields` are others of the import's body: `title`, `google_doc_id` …"""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._call("POST", "/api/books/import", json={"content": content, **fields}, headers=headers)

    def status(self, book_id: str) -> Any:
        """How far the book is: the fields of `GET /api/books/{book_id}/status`."""
        return self._call("GET", f"/api/books/{book_id}/status")

    def search(self, query: str, *, book_id: str | None = None, k: int = 5) -> Any:
        """`results`: passages, best first, of one book or of all that are the caller's."""
        params = {"q": query, "k": k} | ({"book_id": book_id} if book_id else {})
        return self._call("GET", "/api/search", params=params)

    def _call(self, method: str, path: str, **how: Any) -> Any:
        raise NotImplementedError


class Bindery(_Calls):
    """For threads. Calls raise BinderyError, and httpx2.TransportError where nobody answers."""

    def __init__(self, url: str, token: Token = None, *, user: str | None = None) -> None:
        super().__init__(url, token, user)
        self._http = httpx2.Client(**self._settings)

    def _call(self, method: str, path: str, **how: Any) -> Any:
        return _told(self._http.request(method, path, **how))

    def watch(self, book_id: str, *, version: int = 0, chapters: bool = False) -> Generator[Seen]:
        """What is seen of the book at each change, until this `version` of it, or a later one, is done. It
        raises nothing where the connection is lost: it opens another one, for as long as it takes."""
        watch = Watch(book_id, version, chapters)
        while not watch.is_over:
            try:
                with self._http.sse(watch.path, **watch.next_request()) as events:
                    if watch.open(events.response):
                        yield watch.seen
                    for event in events if not watch.is_over else ():
                        if watch.hear(event):
                            yield watch.seen
                        if watch.is_over:
                            return
                watch.close()
            except httpx2.TransportError:
                if watch.lose():
                    yield watch.seen
                time.sleep(watch.pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()


class AsyncBindery(_Calls):
    """For asyncio and trio. Calls raise what those of Bindery do."""

    def __init__(self, url: str, token: Token = None, *, user: str | None = None) -> None:
        super().__init__(url, token, user)
        self._http = httpx2.AsyncClient(**self._settings)

    async def _call(self, method: str, path: str, **how: Any) -> Any:
        return _told(await self._http.request(method, path, **how))

    async def watch(self, book_id: str, *, version: int = 0, chapters: bool = False) -> AsyncGenerator[Seen]:
        """As Bindery.watch."""
        watch = Watch(book_id, version, chapters)
        while not watch.is_over:
            try:
                async with self._http.sse(watch.path, **watch.next_request()) as events:
                    if watch.open(events.response):
                        yield watch.seen
                    if not watch.is_over:
                        async for event in events:
                            if watch.hear(event):
                                yield watch.seen
                            if watch.is_over:
                                return
                watch.close()
            except httpx2.TransportError:
                if watch.lose():
                    yield watch.seen
                await anyio.sleep(watch.pause)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()


def _told(response: httpx2.Response) -> Any:
    if not response.is_success:
        raise BinderyError(response)
    return response.json()
