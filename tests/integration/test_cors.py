"""Which web apps' pages may call the API, as browsers ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.world import World

APP, OTHER = "https://app.example", "https://other.example"


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    with closing(World(dsn, allowed_origins=APP)) as made:
        yield made


def preflight(world: World, origin: str, path: str = "/api/books/import", method: str = "POST") -> Any:
    """What a browser sends before a page's request: no token."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    headers["Access-Control-Request-Headers"] = "authorization,content-type,idempotency-key"
    return world.http.options(path, headers=headers)


def allowed(reply: Any) -> Any:
    return reply.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize("path", ["/api/books/import", "/api/search", "/api/books/b1/status", "/api/jobs/j1"])
def test_a_page_of_an_allowed_origin_may_ask_before_it_has_a_token(world: World, path: str) -> None:
    reply = preflight(world, APP, path)

    assert (reply.status_code, allowed(reply)) == (200, APP)
    assert {"POST", "GET", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))
    told = {name.strip().lower() for name in reply.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type", "idempotency-key"} <= told
    assert "Access-Control-Allow-Credentials" not in reply.headers


def test_its_answers_can_be_read_errors_too(world: World) -> None:
    known = {"Origin": APP, "Authorization": "Bearer ann"}
    made = world.http.post("/api/books/import", json={"content": "Once there was a word."}, headers=known)
    refused = world.http.get("/api/books", headers={"Origin": APP})

    assert (made.status_code, allowed(made)) == (202, APP)
    exposed = {name.strip() for name in made.headers["Access-Control-Expose-Headers"].split(",")}
    assert exposed == {"Location", "Retry-After"}
    assert (refused.status_code, allowed(refused)) == (401, APP)
    assert "Origin" in refused.headers["Vary"]


@pytest.mark.parametrize(
    "origin", [OTHER, f"{APP}.other.example", "https://app.example:8443", "http://app.example", "null"]
)
def test_a_page_of_any_other_origin_may_not(world: World, origin: str) -> None:
    assert allowed(preflight(world, origin)) is None
    assert allowed(world.http.get("/api/books", headers={"Origin": origin, "Authorization": "Bearer ann"})) is None


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:3000"])
def test_on_one_machine_its_own_pages_may(world: World, origin: str) -> None:
    assert allowed(preflight(world, origin)) == origin


def test_who_asks_for_nothing_more_than_options_is_no_preflight(world: World) -> None:
    assert world.http.options("/api/books").status_code == 401


def test_without_the_setting_no_other_page_may(dsn: str) -> None:
    with closing(World(dsn)) as world:
        assert allowed(preflight(world, APP)) is None
        assert allowed(preflight(world, "http://localhost:5173")) == "http://localhost:5173"
