"""Ids are found by their beginnings, and only those that the caller may see."""

from __future__ import annotations

from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from shared.domain.stages import JobType
from tests.support.failing_books import FailingChapters
from tests.support.world import World, manuscript


def find(world: World, kind: str, prefix: str, user: str = "ann", **more: str) -> Any:
    reply = world.get("/api/identifiers", user, kind=kind, prefix=prefix, **more)
    assert reply.status_code == 200, reply.text
    return reply.json["matches"]


@pytest.fixture
def ids(world: World) -> dict[str, str]:
    """Of ann's book with a chapter that failed, was redriven and fails again."""
    FailingChapters(world, 2)
    book = world.import_book(manuscript(chapters=3))
    world.run()
    (letter,) = world.get("/api/dead-letters").json["dead_letters"]
    redrive = world.call("POST", "/api/dead-letters/redrive", {"ids": [letter["dead_letter_id"]]}).json
    replay = world.call("POST", "/api/replays", {"stage": JobType.BOOK_PROCESSING, "book_id": book}, "root").json
    return {
        "book": book,
        "job": f"book-{book}-v1",
        "redrive": redrive["batch_id"],
        "replay": replay["replay_id"],
        "fingerprint": letter["fingerprint"],
    }


@pytest.mark.parametrize("kind", ["book", "job", "redrive", "fingerprint"])
def test_a_beginning_finds_what_is_the_callers_or_for_an_administrator_anyones(
    world: World, ids: dict[str, str], kind: str
) -> None:
    whole = ids[kind]
    prefix = whole[:8] if kind != "job" else whole[:12]
    assert find(world, kind, prefix) == [whole]
    assert find(world, kind, prefix.upper()) == [whole]
    assert find(world, kind, whole) == [whole]
    assert find(world, kind, prefix, "root") == [whole]
    assert find(world, kind, prefix, "bob") == find(world, kind, "0" * 12, "bob") == []


def test_replays_are_for_administrators(world: World, ids: dict[str, str]) -> None:
    assert find(world, "replay", ids["replay"][:8], "root") == [ids["replay"]]
    assert world.get("/api/identifiers", kind="replay", prefix=ids["replay"][:8]).status_code == 403


def test_a_jobs_version_may_be_named_without_the_middle(world: World) -> None:
    book = world.import_book(manuscript(3), google_doc_id="d")
    world.import_book(manuscript(3, changed=[1]), google_doc_id="d")

    assert find(world, "job", f"book-{book[:8]}") == [f"book-{book}-v1", f"book-{book}-v2"]
    assert find(world, "job", f"book-{book[:8]}", suffix="-v2") == [f"book-{book}-v2"]


def test_no_more_than_a_few_candidates_are_told(world: World) -> None:
    for n in range(7):
        world.import_book(manuscript(1, name=str(n)))
    jobs = world.get("/api/identifiers", kind="job", prefix="book-").json
    assert (len(jobs["matches"]), jobs["more"]) == (5, True)


def test_every_digit_counts_in_the_range_of_a_prefix(dsn: str) -> None:
    ids = [UUID(int=n << 124 | 0xABC << 112 | n) for n in (0, 7, 15)]
    upcoming = iter(ids)
    with closing(World(dsn, overrides={"new_id": lambda: next(upcoming)})) as world:
        for n in range(len(ids)):
            world.import_book(manuscript(1, name=str(n)))
        for book_id in ids:
            for length in range(1, 37):
                assert find(world, "book", str(book_id)[:length]) == [str(book_id)]


@pytest.mark.parametrize("kind", ["book", "job", "redrive", "fingerprint"])
def test_signs_with_a_meaning_elsewhere_have_none_here(world: World, ids: dict[str, str], kind: str) -> None:
    for prefix in ("%", "_", "x", "0%", "' OR 1=1 --", "-", "0" * 33, "é", "\\"):
        assert find(world, kind, prefix) == []
