"""Pages of other origins call the API in real Chromium: what a browser allows is for a browser to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from playwright.sync_api import Browser
from werkzeug.wrappers import Response

from tests.support.browser import launched
from tests.support.serving import serving
from tests.support.world import World

# Both are this machine, by the browser's own rule; neither is a name that the API takes for it.
APP, OTHER = "http://app.example", "http://other.example"

CALL = """async ([api, token, body]) => {
    const headers = {"Content-Type": "application/json", "Idempotency-Key": "draft-3"};
    if (token) headers.Authorization = `Bearer ${token}`;
    try {
        const reply = await fetch(`${api}/api/books/import`, {method: "POST", headers, body: JSON.stringify(body)});
        return {status: reply.status, location: reply.headers.get("Location"), told: await reply.json()};
    } catch (error) {
        return {refused: error.name};
    }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched("--host-resolver-rules=MAP *.example 127.0.0.1") as browser:
        yield browser


@pytest.fixture
def pages() -> Iterator[int]:
    with serving(Response("<!doctype html><title>an app</title>", mimetype="text/html")) as port:
        yield port


@pytest.fixture
def call(dsn: str, pages: int, browser: Browser) -> Iterator[Callable[..., Any]]:
    """Import a book from a page of this origin, as this user."""
    with ExitStack() as stack:
        world = stack.enter_context(closing(World(dsn, allowed_origins=f"{APP}:{pages}")))
        api = stack.enter_context(serving(world.app.api))

        def from_page(origin: str, token: str | None) -> Any:
            with browser.new_page() as page:
                page.goto(f"{origin}:{pages}/")
                body = {"title": "A Book", "content": "Once there was a word."}
                told = page.evaluate(CALL, [f"http://127.0.0.1:{api}", token, body])
            return told, [row["title"] for row in world.rows("SELECT title FROM books")]

        yield from_page


def test_a_page_of_an_allowed_origin_imports_a_book_and_reads_where_it_is(call: Callable[..., Any]) -> None:
    told, books = call(APP, "ann")

    assert (told["status"], books) == (202, ["A Book"])
    assert told["location"] == f"/api/books/{told['told']['book_id']}/status"


def test_it_reads_why_it_was_refused(call: Callable[..., Any]) -> None:
    told, books = call(APP, None)

    assert (told["status"], told["told"]["title"], books) == (401, "Unauthorized", [])


def test_a_page_of_this_machine_needs_no_setting(call: Callable[..., Any]) -> None:
    told, books = call("http://localhost", "ann")

    assert (told["status"], books) == (202, ["A Book"])


def test_a_page_of_another_origin_gets_nothing_done(call: Callable[..., Any]) -> None:
    assert call(OTHER, "ann") == ({"refused": "TypeError"}, [])
