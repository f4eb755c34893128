"""A book is shared with readers: they read, search and hear of it, and do nothing else to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.world import World, manuscript


@pytest.fixture
def book(world: World) -> str:
    """Ann's, shared with Ben."""
    book_id = world.import_book(manuscript(2))
    world.run()
    assert share(world, book_id, "ben").json == {"book_id": book_id, "readers": ["ben"]}
    return book_id


def share(world: World, book_id: str, *readers: str, user: str = "ann") -> Any:
    return world.call("PUT", f"/api/books/{book_id}/readers", {"readers": list(readers)}, user=user)


def paths_of_reading(book: str) -> list[str]:
    return [f"/api/books/{book}", f"/api/books/{book}/status", f"/api/books/{book}/chapters"]


def test_a_reader_reads_and_searches_the_book(world: World, book: str) -> None:
    for path in paths_of_reading(book):
        assert world.get(path, user="ben").status_code == 200, path
        assert world.get(path, user="cid").status_code == 404, path
    found = world.get("/api/search", user="ben", q="harbour", book_id=book).json["results"]
    assert {r["book_id"] for r in found} == {book}
    assert world.get("/api/search", user="cid", q="harbour", book_id=book).status_code == 404


def test_a_reader_does_nothing_else_to_the_book(world: World, book: str) -> None:
    calls: list[tuple[str, str, Any]] = [
        ("POST", f"/api/books/{book}/{what}", None) for what in ("cancel", "resume", "retry")
    ]
    calls += [("DELETE", f"/api/books/{book}", None), ("PUT", f"/api/books/{book}/readers", {"readers": []})]
    calls += [("POST", "/api/books/import", {"content": manuscript(3), "book_id": book})]

    for method, path, body in calls:
        refused = world.call(method, path, body, user="ben")
        assert (refused.status_code, refused.json["code"]) == (404, "unknown_book"), path
    (job,) = world.rows("SELECT job_id FROM jobs WHERE type = 'book-processing'")
    assert world.get(f"/api/jobs/{job['job_id']}", user="ben").status_code == 404


def test_books_that_are_shared_are_listed_apart_and_searched_by_name_alone(world: World, book: str) -> None:
    def listed(user: str, **query: Any) -> list[str]:
        return [b["book_id"] for b in world.get("/api/books", user=user, **query).json["books"]]

    assert (listed("ben"), listed("ben", shared=True)) == ([], [book])
    assert (listed("ann"), listed("ann", shared=True)) == ([book], [])
    assert listed("cid", shared=True) == []
    assert world.get("/api/search", user="ben", q="harbour").json["results"] == []


def test_pages_of_shared_books_follow_one_another(world: World) -> None:
    books = [world.import_book(manuscript(1)) for _ in range(3)]
    for book_id in books:
        share(world, book_id, "ben")
    first = world.get("/api/books", user="ben", shared=True, limit=2).json
    rest = world.get("/api/books", user="ben", shared=True, after=first["next"]).json

    assert sorted(b["book_id"] for b in first["books"] + rest["books"]) == sorted(books)


def test_who_may_read_a_book_is_told_who_else_may(world: World, book: str) -> None:
    for user in ("ann", "ben"):
        told = world.get(f"/api/books/{book}", user=user).json
        assert (told["owner_uid"], told["readers"]) == ("ann", ["ben"])


def test_the_live_documents_name_the_readers_at_once(world: World, book: str) -> None:
    def readers() -> list[Any]:
        documents = [world.live_documents.get(f"books/{book}{path}") for path in ("", "/live/grid")]
        return [d.fields["readers"] for d in documents if d]

    assert readers() == [["ben"], ["ben"]]
    share(world, book, "cid", "ben", "cid")
    assert readers() == [["ben", "cid"], ["ben", "cid"]]
    share(world, book)
    assert readers() == [[], []]


def test_who_may_read_no_more_finds_nothing(world: World, book: str) -> None:
    share(world, book, "cid")

    for path in paths_of_reading(book):
        assert world.get(path, user="ben").status_code == 404, path
    assert world.get("/api/search", user="ben", q="harbour", book_id=book).status_code == 404
    assert world.get("/api/books", user="ben", shared=True).json["books"] == []


def test_readers_go_with_the_book_and_stay_with_its_next_version(world: World, book: str) -> None:
    world.call("POST", "/api/books/import", {"content": manuscript(3), "book_id": book})
    world.run()
    assert len(world.get(f"/api/books/{book}/chapters", user="ben").json["chapters"]) == 3

    world.call("DELETE", f"/api/books/{book}")
    assert world.get(f"/api/books/{book}", user="ben").status_code == 404


def test_an_administrator_may_share_a_book_and_read_no_text_of_it(world: World, book: str) -> None:
    assert share(world, book, "cid", user="root").status_code == 200
    assert world.get(f"/api/books/{book}/chapters", user="cid").status_code == 200
    assert world.get(f"/api/books/{book}/chapters", user="root").status_code == 404


@pytest.mark.parametrize("readers", [[""], ["x" * 129], ["a"] * 101, "ben", None])
def test_readers_are_a_list_of_users(world: World, book: str, readers: Any) -> None:
    refused = world.call("PUT", f"/api/books/{book}/readers", {"readers": readers})

    assert (refused.status_code, refused.json["code"]) == (422, "invalid_fields")
    assert world.get(f"/api/books/{book}").json["readers"] == ["ben"]
