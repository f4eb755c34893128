"""What apps read of books: texts, exports, and lists of books and jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.world import World, manuscript


@pytest.fixture
def book(world: World) -> str:
    book_id = world.import_book(TEXT)
    world.run()
    return book_id


TEXT = manuscript(3, words=600)


def test_a_chapter_is_the_piece_of_the_imported_text_that_its_offsets_name(world: World, book: str) -> None:
    read = [world.get(f"/api/books/{book}/chapters/{n}").json for n in (1, 2, 3)]

    for chapter in read:
        assert chapter["text"] == TEXT[chapter["start_offset"] : chapter["end_offset"]]
        assert (chapter["text_start"], chapter["text_end"]) == (chapter["start_offset"], chapter["end_offset"])
        assert chapter["metadata"]["summary"]
    assert [c["number"] for c in read] == [1, 2, 3]


def test_a_search_result_is_opened_where_it_was_found(world: World, book: str) -> None:
    (hit, *_) = world.get("/api/search", q="harbour", book_id=book).json["results"]
    path = f"/api/books/{book}/chapters/{hit['chapter_number']}"
    near = world.get(path, around=hit["start_offset"], within=50).json
    whole = world.get(path).json

    assert near["text"] == TEXT[near["text_start"] : near["text_end"]]
    assert near["text_start"] == max(whole["start_offset"], hit["start_offset"] - 50)
    assert near["text_end"] == min(whole["end_offset"], hit["start_offset"] + 50)
    assert hit["passage"][:20] in TEXT[hit["start_offset"] : hit["end_offset"]]


def test_a_chapter_that_is_not_there_and_an_offset_outside_of_it_are_told_apart(world: World, book: str) -> None:
    assert world.get(f"/api/books/{book}/chapters/4").json["code"] == "unknown_chapter"
    beyond = world.get(f"/api/books/{book}/chapters/1", around=len(TEXT)).json
    assert (beyond["code"], beyond["status"]) == ("invalid_fields", 422)
    assert world.get(f"/api/books/{book}/chapters/1", user="ben").json["code"] == "unknown_book"
    assert world.get(f"/api/books/{book}/chapters/one").status_code in (404, 422)


def exported(world: World, book: str, user: str = "ann", **query: Any) -> list[dict[str, Any]]:
    reply = world.get(f"/api/books/{book}/export", user=user, **query)
    assert reply.status_code == 200
    return [json.loads(line) for line in reply.text.splitlines()]


def test_an_export_has_every_chapter_and_passage_once_and_says_that_it_is_whole(world: World, book: str) -> None:
    about, *lines, end = exported(world, book)
    chapters = [line for line in lines if line["type"] == "chapter"]
    passages = [line for line in lines if line["type"] == "passage"]
    stored = world.rows("SELECT count(*) AS n FROM chapter_chunks")[0]["n"]

    assert (about["type"], about["book_id"], bool(about["context"]["summary"])) == ("book", book, True)
    assert end == {"type": "end", "chapters": 3, "passages": stored}
    assert "".join(c["text"] for c in chapters) in TEXT
    for passage in passages:
        assert passage["text"] == TEXT[passage["start_offset"] : passage["end_offset"]]
        assert "vector" not in passage
    assert [line["type"] for line in lines[:2]] == ["chapter", "passage"]


def test_an_export_has_vectors_if_they_are_asked_for(world: World, book: str) -> None:
    lines = [line for line in exported(world, book, vectors=True) if line["type"] in ("chapter", "passage")]

    assert lines
    for line in lines:
        assert abs(sum(x * x for x in line["vector"]) - 1) < 1e-3
        assert line["embedding_model"]


def test_nobody_else_exports_a_book_and_readers_do(world: World, book: str) -> None:
    assert world.get(f"/api/books/{book}/export", user="ben").status_code == 404
    assert world.get(f"/api/books/{book}/export", user="root").status_code == 404
    world.call("PUT", f"/api/books/{book}/readers", {"readers": ["ben"]})
    assert exported(world, book, user="ben")[-1]["type"] == "end"


def test_an_export_that_breaks_off_has_no_end(world: World, book: str) -> None:
    reply = world.http.get(f"/api/books/{book}/export", headers={"Authorization": "Bearer ann"}, buffered=False)
    lines: Iterator[Any] = iter(reply.response)
    read = [json.loads(next(lines)) for _ in range(2)]
    world.call("DELETE", f"/api/books/{book}")
    read += [json.loads(line) for line in lines]

    assert [line["type"] for line in read] == ["book", "chapter"]


def test_books_are_listed_by_status_and_title_with_totals(world: World) -> None:
    for title in ("Emma", "Emma 2", "Persuasion"):
        world.post({"title": title, "content": manuscript(1)})
        world.clock.advance(1)
    world.run()
    world.clock.advance(1)
    world.post({"title": "EMMA again", "content": manuscript(1)})
    world.post({"title": "Emma, not mine", "content": manuscript(1)}, user="ben")

    def titles(**query: Any) -> list[str]:
        return [b["title"] for b in world.get("/api/books", **query).json["books"]]

    assert titles(title="emma") == ["EMMA again", "Emma 2", "Emma"]
    assert titles(title="emma", status="completed") == ["Emma 2", "Emma"]
    assert titles(status="failed") == []
    assert titles(title="%") == []
    told = world.get("/api/books", title="emma", status="completed", totals=True, limit=1).json
    assert (len(told["books"]), told["totals"]) == (1, {"completed": 2, "pending": 1})
    assert world.get("/api/books").json["totals"] is None


def test_jobs_are_listed_by_book_stage_and_state_page_by_page(world: World, book: str) -> None:
    first = world.get("/api/jobs", book_id=book, limit=4).json
    rest = world.get("/api/jobs", book_id=book, after=first["next"]).json
    all_jobs = first["jobs"] + rest["jobs"]

    assert {j["id"] for j in all_jobs} == {j["job_id"] for j in world.rows("SELECT job_id FROM jobs")}
    assert len(all_jobs) == len({j["id"] for j in all_jobs})
    assert {j["book_id"] for j in all_jobs} == {book}
    chapters = world.get("/api/jobs", book_id=book, type="chapter-processing", state="completed").json["jobs"]
    assert {j["type"] for j in chapters} == {"chapter-processing"}
    assert world.get("/api/jobs", book_id=book, state="failed").json == {"jobs": [], "next": None}


def test_users_list_jobs_of_their_own_books_and_administrators_all(world: World, book: str) -> None:
    assert world.get("/api/jobs", user="ben", book_id=book).json["jobs"] == []
    assert world.get("/api/jobs", user="root", book_id=book).json["jobs"]
    other = world.import_book(manuscript(1))
    assert {j["book_id"] for j in world.get("/api/jobs", state="pending").json["jobs"]} == {other}
    assert world.get("/api/jobs", user="ben", state="pending").json["jobs"] == []
    assert {j["book_id"] for j in world.get("/api/jobs", user="root", state="pending").json["jobs"]} == {other}


def test_completed_jobs_are_listed_of_one_book_alone(world: World) -> None:
    for query in ({}, {"state": "completed"}, {"type": "chapter-processing"}):
        refused = world.get("/api/jobs", **query)
        assert (refused.status_code, refused.json["code"]) == (422, "invalid_fields")
