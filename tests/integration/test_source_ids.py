"""A manuscript that its owner names: the same name again is the same book. And readers who are named at an import."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.support.world import World, manuscript


def books(world: World, user: str = "ann", **query: Any) -> list[Any]:
    listed: list[Any] = world.get("/api/books", user=user, **query).json["books"]
    return listed


def test_the_same_name_again_is_the_next_version_of_the_same_book(world: World) -> None:
    book_id = world.import_book(manuscript(3), source_id="drafts/7")
    world.run()
    again = world.post({"content": manuscript(3, changed=[2]), "source_id": "drafts/7"}).json
    world.run()

    assert (again["book_id"], again["version"]) == (book_id, 2)
    assert world.status(book_id)["current_version"] == 2
    assert world.extractor.calls["chapter"] == 4, "what did not change was not computed again"
    told = world.get(f"/api/books/{book_id}").json
    assert (told["source_id"], told["title"], told["google_doc_id"]) == ("drafts/7", "A Book", None)


def test_the_same_text_by_the_same_name_costs_nothing_unless_it_is_forced(world: World) -> None:
    book_id = world.import_book(manuscript(2), source_id="a")
    world.run()
    paid = world.embedder.requests, world.extractor.calls.copy()
    again = world.post({"content": manuscript(2), "source_id": "a"}).json

    assert (again["book_id"], again["version"], again["status"]) == (book_id, 1, "completed")
    assert world.broker.waiting == []
    assert (world.embedder.requests, world.extractor.calls) == paid
    assert world.post({"content": manuscript(2), "source_id": "a", "force": True}).json["version"] == 2


def test_two_that_import_one_name_at_once_make_one_book(world: World) -> None:
    def post(n: int) -> Any:
        body = {"content": manuscript(1, name=f"{n % 2} "), "source_id": "a"}
        http = world.app.api.test_client()
        return http.post("/api/books/import", json=body, headers={"Authorization": "Bearer ann"})

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(post, range(8)))
    world.run()

    assert {r.status_code for r in replies} == {202}
    assert len({r.json["book_id"] for r in replies}) == len(books(world)) == 1
    versions = [r["version"] for r in world.rows("SELECT version FROM book_versions ORDER BY version")]
    assert versions == list(range(1, len(versions) + 1))


def test_postgresql_itself_has_no_two_books_of_an_owner_by_one_name(world: World) -> None:
    world.import_book(manuscript(1), source_id="a")

    with pytest.raises(psycopg.errors.UniqueViolation):
        world.rows(
            "INSERT INTO books (book_id, owner_uid, source_id, title, latest_version)"
            " SELECT gen_random_uuid(), owner_uid, source_id, title, 0 FROM books RETURNING 1"
        )


def test_a_name_is_its_owners_alone_also_of_those_a_key_acts_for(world: World) -> None:
    key = world.call("POST", "/api/keys", {"name": "import", "any_user": True}, user="root").json["token"]

    def post_for(user: str) -> str:
        headers = {"Authorization": f"Bearer {key}", "Bindery-User": user}
        body = {"content": manuscript(1), "source_id": "a"}
        reply: Any = world.http.post("/api/books/import", json=body, headers=headers).json
        return str(reply["book_id"])

    anns, bens = post_for("ann"), post_for("ben")

    assert anns != bens
    assert post_for("ann") == anns == world.import_book(manuscript(1), source_id="a", title=None)
    assert [b["book_id"] for b in books(world, "ben", source_id="a")] == [bens]


def test_books_are_found_by_name(world: World) -> None:
    for name in ("a", "b"):
        world.import_book(manuscript(1), source_id=name)
    unnamed = world.import_book(manuscript(1))

    assert [b["source_id"] for b in books(world, source_id="b")] == ["b"]
    assert books(world, source_id="B") == books(world, "ben", source_id="b") == []
    totals = world.get("/api/books", source_id="a", totals=True).json["totals"]
    assert sum(totals.values()) == 1
    assert world.get(f"/api/books/{unnamed}").json["source_id"] is None


def test_the_name_of_a_deleted_book_is_free(world: World) -> None:
    book_id = world.import_book(manuscript(2), source_id="a")
    world.run()
    world.call("DELETE", f"/api/books/{book_id}")
    world.run()
    assert books(world, source_id="a") == []

    again = world.post({"content": manuscript(1), "source_id": "a"}).json
    world.run()
    assert again["version"] == 1
    assert world.status(again["book_id"])["status"] == "completed"


def test_a_name_is_no_google_documents(world: World) -> None:
    document = world.import_book(manuscript(1), google_doc_id="a")

    assert world.import_book(manuscript(1), source_id="a") != document


@pytest.mark.parametrize(
    "more",
    [
        {"source_id": ""},
        {"source_id": "a" * 201},
        {"source_id": "a", "google_doc_id": "b"},
        {"source_id": "a", "book_id": "00000000-0000-4000-8000-000000000000"},
        {"source_id": 7},
        {"readers": [""]},
        {"readers": "ben"},
        {"readers": ["a"] * 101},
    ],
)
def test_a_book_is_named_once_and_readers_are_a_list_of_users(world: World, more: dict[str, Any]) -> None:
    refused = world.post({"content": manuscript(1), **more})

    assert (refused.status_code, refused.json["code"]) == (422, "invalid_fields")
    assert books(world) == []


def test_a_key_that_is_used_again_with_another_name_or_other_readers_is_refused(world: World) -> None:
    body = {"content": manuscript(1), "source_id": "a", "readers": ["ben"]}
    first = world.post(body, Idempotency_Key="k").json

    assert world.post(body, Idempotency_Key="k").json["book_id"] == first["book_id"]
    others: list[dict[str, Any]] = [{"source_id": "b"}, {"readers": ["cid"]}, {"readers": []}]
    for other in others:
        assert world.post(body | other, Idempotency_Key="k").json["code"] == "key_reused"


def readers(world: World, book_id: str) -> tuple[Any, Any]:
    """As the API tells them, and as the live document does."""
    document = world.live_documents.get(f"books/{book_id}")
    assert document
    return world.get(f"/api/books/{book_id}").json["readers"], document.fields["readers"]


@pytest.mark.parametrize("names", [{"source_id": "a"}, {"google_doc_id": "a"}])
def test_readers_are_set_by_the_import_and_stay_if_a_later_one_names_none(world: World, names: dict[str, str]) -> None:
    book_id = world.import_book(manuscript(2), readers=["cid", "ben", "cid"], **names)
    assert readers(world, book_id) == (["ben", "cid"], ["ben", "cid"])
    world.run()
    assert world.get(f"/api/books/{book_id}/chapters", user="ben").status_code == 200

    world.import_book(manuscript(3), **names)
    world.run()
    assert readers(world, book_id) == (["ben", "cid"], ["ben", "cid"])
    world.import_book(manuscript(4), readers=["dan"], **names)
    assert readers(world, book_id) == (["dan"], ["dan"])


def test_readers_change_by_an_import_that_changes_nothing_else(world: World) -> None:
    book_id = world.import_book(manuscript(2), source_id="a", readers=["ben"])
    world.run()
    for named in (["cid"], []):
        reply = world.post({"content": manuscript(2), "book_id": book_id, "readers": named}).json
        assert (reply["version"], reply["status"]) == (1, "completed")
        assert readers(world, book_id) == (named, named)
    assert world.broker.waiting == []


def test_an_import_that_is_refused_changes_no_readers(world: World, dsn: str) -> None:
    world.close()
    small = World(dsn, max_books_under_way=1)
    book_id = small.import_book(manuscript(1), source_id="a")
    small.run()
    small.import_book(manuscript(1), source_id="b")

    refused = small.post({"content": manuscript(2), "source_id": "a", "readers": ["ben"]})
    assert refused.status_code == 429
    assert readers(small, book_id) == ([], [])
    small.close()
