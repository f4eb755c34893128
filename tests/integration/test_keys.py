"""Machines call by keys: for one user or for any, within scopes, until they are revoked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.world import World, manuscript


def create(world: World, user: str = "root", **body: Any) -> Any:
    return world.call("POST", "/api/keys", {"name": "nightly import", **body}, user=user)


def token(world: World, user: str = "root", **body: Any) -> str:
    reply = create(world, user, **body)
    assert reply.status_code == 201, reply.json
    return str(reply.json["token"])


def ask(world: World, token: str, method: str, path: str, body: Any = None, acts_for: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} | ({"Bindery-User": acts_for} if acts_for else {})
    return world.http.open(path, method=method, json=body, headers=headers)


def test_a_key_does_what_the_user_may_who_made_it(world: World) -> None:
    key = token(world, "ann")
    book = ask(world, key, "POST", "/api/books/import", {"content": manuscript(1)}).json["book_id"]
    world.run()

    assert world.status(book)["status"] == "completed"
    assert ask(world, key, "GET", f"/api/books/{book}").json["owner_uid"] == "ann"
    assert world.get(f"/api/books/{book}", user="ben").status_code == 404


def test_a_key_for_any_user_acts_for_whom_the_request_names_and_for_nobody_else(world: World) -> None:
    key = token(world, any_user=True)
    books = {
        user: ask(world, key, "POST", "/api/books/import", {"content": manuscript(1)}, acts_for=user).json["book_id"]
        for user in ("ann", "ben")
    }

    assert world.get(f"/api/books/{books['ben']}", user="ben").json["owner_uid"] == "ben"
    assert ask(world, key, "GET", f"/api/books/{books['ben']}", acts_for="ann").status_code == 404
    assert [b["book_id"] for b in ask(world, key, "GET", "/api/books", acts_for="ann").json["books"]] == [books["ann"]]
    unnamed = ask(world, key, "GET", "/api/books")
    assert (unnamed.status_code, unnamed.json["code"]) == (403, "forbidden")
    assert "Bindery-User" in unnamed.json["detail"]


def test_who_acts_for_one_user_acts_for_no_other(world: World) -> None:
    key = token(world, owner_uid="ann")

    assert ask(world, key, "GET", "/api/books", acts_for="ann").status_code == 200
    assert ask(world, key, "GET", "/api/books", acts_for="ben").status_code == 403
    for user, status in (("ann", 200), ("ben", 403)):
        assert ask(world, "ann", "GET", "/api/books", acts_for=user).status_code == status, "a user's own token"
    assert ask(world, "root", "GET", "/api/books", acts_for="ben").status_code == 403, "an administrator's"


@pytest.mark.parametrize(
    ("scopes", "reads", "writes", "administrates"),
    [
        (["read"], 200, 403, 403),
        (["write"], 403, 202, 403),
        (["read", "write"], 200, 202, 403),
        (["read", "write", "admin"], 200, 202, 200),
        (["read", "admin"], 200, 403, 200),
        (["admin"], 403, 403, 403),
    ],
)
def test_a_key_is_used_for_what_it_was_made_for(
    world: World, scopes: list[str], reads: int, writes: int, administrates: int
) -> None:
    key = token(world, scopes=scopes)

    assert ask(world, key, "GET", "/api/books").status_code == reads
    assert ask(world, key, "POST", "/api/books/import", {"content": manuscript(1)}).status_code == writes
    assert ask(world, key, "GET", "/api/snapshots").status_code == administrates


def test_only_administrators_make_keys_that_can_do_more_than_they(world: World) -> None:
    refused: list[tuple[str, dict[str, Any]]] = [
        ("ann", {"any_user": True}),
        ("ann", {"owner_uid": "ben"}),
        ("ann", {"scopes": ["read", "admin"]}),
        ("root", {"any_user": True, "scopes": ["admin"]}),
        ("root", {"owner_uid": "ben", "scopes": ["admin"]}),
    ]
    for user, body in refused:
        assert create(world, user, **body).status_code == 403, body
    assert create(world, "root", owner_uid="ben", any_user=True).status_code == 422
    assert world.get("/api/keys", user="root").json["keys"] == []


def test_no_key_makes_lists_or_revokes_keys(world: World) -> None:
    made = create(world, scopes=["read", "write", "admin"]).json

    assert ask(world, made["token"], "POST", "/api/keys", {"name": "another"}).status_code == 403
    assert ask(world, made["token"], "GET", "/api/keys").status_code == 403
    assert ask(world, made["token"], "DELETE", f"/api/keys/{made['key_id']}").status_code == 403


def test_a_revoked_key_an_expired_one_and_one_that_never_was_are_refused_alike(world: World) -> None:
    made, brief = create(world, "ann").json, create(world, "ann", expires_in_days=1).json
    path = f"/api/keys/{made['key_id']}"
    assert world.call("DELETE", path, user="ann").status_code == 204
    world.clock.advance(24 * 3600)
    wrong = made["token"][:-2] + ("aa" if made["token"][-2:] != "aa" else "bb")
    refused = [
        ask(world, sent, "GET", "/api/books")
        for sent in (
            made["token"],
            brief["token"],
            wrong,
            "bindery_",
            "bindery_1_2",
            f"bindery_{'0' * 32}_x",
            "bindery_ü",
        )
    ]

    assert {(r.status_code, r.json["code"], r.json["detail"]) for r in refused} == {
        (401, "unauthenticated", "the key is not valid: it may have been revoked, or have expired")
    }
    assert world.call("DELETE", path, user="ann").status_code == 204, "to revoke it again changes nothing"


def test_a_day_before_it_expires_a_key_is_valid(world: World) -> None:
    key = token(world, expires_in_days=2)
    world.clock.advance(24 * 3600)

    assert ask(world, key, "GET", "/api/books").status_code == 200


def test_users_see_and_revoke_their_own_keys_and_administrators_all(world: World) -> None:
    made = create(world, "ann").json

    assert [k["name"] for k in world.get("/api/keys").json["keys"]] == ["nightly import"]
    assert world.get("/api/keys", user="ben").json["keys"] == []
    refused = world.call("DELETE", f"/api/keys/{made['key_id']}", user="ben")
    assert (refused.status_code, refused.json["code"]) == (404, "unknown_key")
    assert ask(world, made["token"], "GET", "/api/books").status_code == 200
    assert [k["key_id"] for k in world.get("/api/keys", user="root").json["keys"]] == [made["key_id"]]
    assert world.call("DELETE", f"/api/keys/{made['key_id']}", user="root").status_code == 204
    assert ask(world, made["token"], "GET", "/api/books").status_code == 401


def test_it_is_told_when_a_key_was_last_used_to_the_minute(world: World) -> None:
    key = token(world, "ann")

    def last_used() -> Any:
        return world.get("/api/keys").json["keys"][0]["last_used_at"]

    assert last_used() is None
    ask(world, key, "GET", "/api/books")
    first = last_used()
    world.clock.advance(59)
    ask(world, key, "GET", "/api/books")
    assert last_used() == first
    world.clock.advance(1)
    ask(world, key, "GET", "/api/books")
    assert last_used() > first


def test_the_secret_is_told_once_and_kept_nowhere(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    made = create(world, "ann").json
    secret = made["token"].rsplit("_", 1)[1] if made["token"].count("_") == 2 else made["token"].split("_", 2)[2]
    ask(world, made["token"], "GET", "/api/books")

    assert len(secret) >= 43
    assert "token" not in world.get("/api/keys").json["keys"][0]
    assert secret not in str(world.rows("SELECT k.*, encode(digest, 'escape') FROM api_keys k"))
    logged = capsys.readouterr()
    assert "key.created" in logged.out + logged.err
    assert secret not in logged.out + logged.err
