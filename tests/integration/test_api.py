"""The API's answers, over a real database."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest

from tests.support.world import World, manuscript

PROBLEM = "application/problem+json"


def is_problem(reply: Any, status: int) -> bool:
    return bool(
        reply.status_code == status
        and reply.content_type == PROBLEM
        and reply.json["status"] == status
        and reply.json["title"]
        and reply.json["detail"]
    )


def test_an_import_is_accepted_as_the_contract_says(world: World) -> None:
    reply = world.post({"title": "T", "content": manuscript()})

    assert reply.status_code == 202
    assert reply.json["status"] == "processing"
    assert reply.json["progress"] == 0
    assert reply.json["job_id"] == f"book-{reply.json['book_id']}-v1"


def test_the_job_has_the_old_systems_fields(world: World) -> None:
    book_id = world.import_book(manuscript())
    world.run()

    job = world.get(f"/api/jobs/book-{book_id}-v1").json
    old = "id type data state progress attempts result error created_at processed_on finished_on"
    assert set(old.split()) <= set(job)
    assert (job["type"], job["state"], job["progress"], job["attempts"]) == ("book-processing", "completed", 100, 1)


@pytest.mark.parametrize("path", ["/api/books/{}/status", "/api/books/{}", "/api/books/{}/chapters"])
def test_an_unknown_book_is_not_found(world: World, path: str) -> None:
    assert is_problem(world.get(path.format(uuid.uuid4())), 404)


def test_an_unknown_job_is_not_found(world: World) -> None:
    assert is_problem(world.get("/api/jobs/chapter-1"), 404)


def test_lists_search_and_imports_keep_to_ones_own_books(world: World) -> None:
    book_id = world.import_book(manuscript())
    world.run()

    assert world.get("/api/books", user="ben").json["books"] == []
    assert world.get("/api/search", user="ben", q="harbour lantern").json["results"] == []
    assert is_problem(world.post({"title": "x", "content": "y", "book_id": book_id}, user="ben"), 404)


@pytest.mark.parametrize(
    "path", ["/api/books", "/api/books/x/status", "/api/jobs/x", "/api/search?q=x", "/api/openapi.json", "/nothing"]
)
def test_every_endpoint_asks_who_is_there(world: World, path: str) -> None:
    reply = world.http.get(path)

    assert is_problem(reply, 401)
    assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_malformed_json_is_a_bad_request(world: World) -> None:
    head = {"Authorization": "Bearer ann", "Content-Type": "application/json"}
    assert is_problem(world.http.post("/api/books/import", data="{not json", headers=head), 400)
    assert is_problem(world.http.post("/api/books/import", data="[1]", headers=head), 400)


def test_another_content_type_is_unsupported(world: World) -> None:
    head = {"Authorization": "Bearer ann", "Content-Type": "text/plain"}
    assert is_problem(world.http.post("/api/books/import", data="hello", headers=head), 415)


def test_a_body_over_the_limit_is_refused_and_says_the_limit(dsn: str) -> None:
    small = World(dsn, max_body_bytes=1000)
    reply = small.post({"title": "T", "content": "x" * 2000})
    small.close()

    assert is_problem(reply, 413)
    assert "1000" in reply.json["detail"]


@pytest.mark.parametrize(
    ("content", "offset"),
    [("ab\0cd", 2), ("abc\ud800", 3), ("\udfff", 0), ("😀\0", 1)],
    ids=["NUL", "high", "low", "emoji"],
)
def test_what_cannot_be_stored_is_refused_with_its_offset(world: World, content: str, offset: int) -> None:
    body = json.dumps({"title": "T", "content": content})
    head = {"Authorization": "Bearer ann", "Content-Type": "application/json"}
    reply = world.http.post("/api/books/import", data=body, headers=head)

    assert is_problem(reply, 422)
    assert reply.get_json()["errors"][0]["offset"] == offset
    assert reply.get_json()["errors"][0]["field"] == "content"


@pytest.mark.parametrize(
    "body",
    [{"title": "", "content": "x"}, {"title": "x"}, {"title": 1, "content": "x"}]
    + [{"title": "x", "content": "y", "colour": "red"}, {"title": "x", "content": "y", "book_id": "no"}],
)
def test_a_body_that_does_not_fit_says_which_field(world: World, body: dict[str, object]) -> None:
    reply = world.post(body)

    assert is_problem(reply, 422)
    assert reply.json["errors"][0]["field"]


def titles(world: World, book_id: str) -> tuple[str, str]:
    """As readers see it, and as the live document shows it."""
    shown = world.live_documents.get(f"books/{book_id}")
    assert shown is not None
    return world.get(f"/api/books/{book_id}").json["title"], shown.fields["title"]


def test_a_new_version_without_a_title_keeps_the_books(world: World) -> None:
    book_id = world.import_book(manuscript(3), "Emma")
    world.run()
    world.import_book("# Another heading\n\n" + manuscript(4), None, book_id=book_id)
    world.run()
    assert titles(world, book_id) == ("Emma", "Emma")
    assert world.status(book_id)["version"] == 2

    world.import_book(manuscript(5), "Emma, revised", book_id=book_id)
    world.import_book(manuscript(6), None, book_id=book_id)
    world.run()
    assert titles(world, book_id) == ("Emma, revised", "Emma, revised")


def test_an_equal_text_without_a_title_is_no_new_version(world: World) -> None:
    book_id = world.import_book(manuscript(3), "Emma")
    world.run()
    world.import_book(manuscript(3), None, book_id=book_id)

    assert world.status(book_id)["version"] == 1


@pytest.mark.parametrize(
    ("text", "title"), [("# The Binder\n\nOnce.", "The Binder"), ("Once.", "Untitled"), ("#\n\nOnce.", "Untitled")]
)
def test_a_new_book_without_a_title_takes_its_texts_own(world: World, text: str, title: str) -> None:
    book_id = world.import_book(text, None)
    world.run()

    assert titles(world, book_id) == (title, title)


def test_a_wrong_method_is_a_problem_too(world: World) -> None:
    assert is_problem(world.http.put("/api/books", headers={"Authorization": "Bearer ann"}), 405)


def test_a_database_that_is_down_is_a_503_with_retry_after() -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    lost = World(nowhere, pool_size=1, connect_seconds=1)
    reply = lost.get("/api/books")
    lost.close()

    assert is_problem(reply, 503)
    assert reply.headers["Retry-After"]
    assert "127.0.0.1" not in reply.text


def test_books_come_newest_first_in_pages(world: World) -> None:
    ids = []
    for n in range(5):
        world.clock.advance(1)
        ids.append(world.import_book(manuscript(1), title=f"Book {n}"))

    first = world.get("/api/books", limit=3).json
    second = world.get("/api/books", limit=3, after=first["next"]).json
    assert [b["book_id"] for b in first["books"] + second["books"]] == ids[::-1]
    assert second["next"] is None


def test_a_book_shows_its_context_and_chapters(world: World) -> None:
    book_id = world.import_book(manuscript(3), title="Shown")
    world.run()

    book = world.get(f"/api/books/{book_id}").json
    chapters = world.get(f"/api/books/{book_id}/chapters").json["chapters"]
    assert (book["title"], book["split_method"], book["context"]["mode"]) == ("Shown", "headings", "full")
    assert [c["number"] for c in chapters] == [1, 2, 3]
    assert all(c["metadata"]["summary"] for c in chapters)


def test_a_search_finds_the_passage_and_its_place_in_the_text(world: World) -> None:
    text = manuscript(4).replace("CHAPTER 3\n\n", "CHAPTER 3\n\nA zebra crossed the frozen canal. ")
    book_id = world.import_book(text)
    world.run()

    best = world.get("/api/search", q="zebra on a canal", book_id=book_id, k=3).json["results"][0]
    assert best["chapter_number"] == 3
    assert text[best["start_offset"] : best["end_offset"]] == best["passage"]
    assert "zebra" in best["passage"]


def test_the_openapi_document_describes_every_route(world: World) -> None:
    document = world.get("/api/openapi.json").json

    assert document["openapi"].startswith("3.1")
    routes = {r.rule for r in world.app.api.url_map.iter_rules()} - {"/api/openapi.json", "/static/<path:filename>"}
    assert set(document["paths"]) == {re.sub(r"<(\w+)>", r"{\1}", rule) for rule in routes}
    assert "/api/books/{book_id}/cancel" in document["paths"]
    post = document["paths"]["/api/books/import"]["post"]["responses"]
    assert {"202", "400", "401", "413", "415", "422", "503"} <= set(post)
    assert "application/problem+json" in post["422"]["content"]
