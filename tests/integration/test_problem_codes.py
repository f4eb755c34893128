"""Each kind of problem has a code, by which a program knows what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from shared.http.codes import CODES, Code
from tests.support.world import World, manuscript

NOBODY: dict[str, str] = {}
ANN, ROOT = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer root"}
NONE = "00000000-0000-4000-8000-000000000000"
TEXT = {"content": "Once there was a word."}


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    with closing(World(dsn, max_books_under_way=1)) as made:
        yield made


@pytest.mark.parametrize(
    ("code", "method", "path", "headers", "sent"),
    [
        (Code.UNAUTHENTICATED, "GET", "/api/books", NOBODY, {}),
        (Code.OTHER_SITE, "GET", "/api/books", ANN | {"Origin": "https://evil.example"}, {}),
        (Code.FORBIDDEN, "GET", "/api/snapshots", ANN, {}),
        (Code.UNKNOWN_ADDRESS, "GET", "/api/nothing", ANN, {}),
        (Code.METHOD_NOT_ALLOWED, "PUT", "/api/books", ANN, {}),
        (Code.UNKNOWN_BOOK, "GET", f"/api/books/{NONE}", ANN, {}),
        (Code.UNKNOWN_BOOK, "POST", f"/api/books/{NONE}/cancel", ANN, {}),
        (Code.UNKNOWN_JOB, "GET", "/api/jobs/none", ANN, {}),
        (Code.UNKNOWN_DEAD_LETTER, "GET", "/api/dead-letters/1", ANN, {}),
        (Code.UNKNOWN_REDRIVE, "GET", f"/api/dead-letters/redrives/{NONE}", ANN, {}),
        (Code.UNKNOWN_REPLAY, "GET", f"/api/replays/{NONE}", ROOT, {}),
        (Code.UNKNOWN_REEMBEDDING, "GET", f"/api/reembeddings/{NONE}", ROOT, {}),
        (Code.NOT_JSON, "POST", "/api/books/import", ANN, {"data": "a word"}),
        (Code.MALFORMED_REQUEST, "POST", "/api/books/import", ANN, {"json": ["a word"]}),
        (Code.INVALID_FIELDS, "POST", "/api/books/import", ANN, {"json": {"title": "no text"}}),
        (Code.BODY_TOO_LARGE, "POST", "/api/dead-letters/redrive", ANN, {"json": {"a": "a" * 70_000}}),
        (Code.EMPTY_MANUSCRIPT, "POST", "/api/books/import", ANN, {"json": {"content": "…"}}),
    ],
)
def test_a_problem_says_its_code(
    world: World, code: Code, method: str, path: str, headers: dict[str, str], sent: dict[str, Any]
) -> None:
    reply = world.http.open(path, method=method, headers=headers, **sent)

    told: Any = reply.json
    assert (told["code"], told["status"], reply.status_code) == (code, *2 * [CODES[code][0]])
    assert reply.content_type == "application/problem+json"
    assert told["detail"]


def test_a_users_books_under_way_keys_and_states_have_codes_of_their_own(world: World) -> None:
    book_id = world.import_book(manuscript(1))
    too_many = world.post(TEXT)
    world.run()
    keyed = [world.post(body, Idempotency_Key="k").json for body in (TEXT, TEXT | {"title": "Another"})]
    done = world.call("POST", f"/api/books/{book_id}/cancel")

    assert [too_many.json["code"], keyed[1]["code"], done.json["code"]] == [
        Code.TOO_MANY_BOOKS,
        Code.KEY_REUSED,
        Code.INVALID_STATE,
    ]


def test_what_nobody_expects_has_a_code_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*about: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(type(world.app.catalogue), "books", fail)

    assert world.get("/api/books").json["code"] == Code.UNEXPECTED


def test_every_code_has_its_status_and_its_word() -> None:
    assert set(CODES) == set(Code)
    assert [str(code) for code in Code] == [code.name.lower() for code in Code]
