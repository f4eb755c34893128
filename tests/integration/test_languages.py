"""Books in any script go through the pipeline against a Vertex AI that counts tokens and refuses what is too large."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing

import pytest

from shared.adapters.google.vertex_embedder import VertexEmbedder
from tests.support.fake_vertex import MAX_TEXT_TOKENS, FakeVertex, client_of, count_tokens
from tests.support.languages import SCRIPTS, Script, book, unbroken
from tests.support.world import World

LATIN = SCRIPTS[0]


@pytest.fixture
def world(dsn: str, vertex: FakeVertex) -> Iterator[World]:
    embedder = VertexEmbedder("p", "us-central1", "text-embedding-005", new_client=lambda: client_of(vertex))
    with closing(World(dsn, overrides={"embedder": embedder})) as made:
        yield made


def completed(world: World, book_id: str) -> bool:
    status = world.status(book_id)
    return bool(status["status"] == "completed" and status["chapters"]["failed"] == 0)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_book_in_any_script_is_embedded_without_a_request_that_is_too_large(
    world: World, vertex: FakeVertex, script: Script
) -> None:
    book_id = world.import_book(book(script, script.name))
    world.run()

    assert completed(world, book_id)
    assert vertex.too_large == 0
    assert set(vertex.embedded.values()) == {1}


def test_a_book_of_all_scripts_without_a_space_is_embedded_too(world: World, vertex: FakeVertex) -> None:
    source = random.Random(1)
    chapters = ["".join(unbroken(s, source, 3_000) for s in source.sample(SCRIPTS, 4)) for _ in range(6)]
    book_id = world.import_book("\n\n".join(f"CHAPTER {n}\n\n{text}" for n, text in enumerate(chapters, 1)))
    world.run()

    assert completed(world, book_id)
    assert vertex.too_large == 0
    assert max(map(count_tokens, vertex.embedded)) <= MAX_TEXT_TOKENS


def test_a_chinese_chapter_has_as_many_words_as_characters(world: World) -> None:
    world.import_book("CHAPTER 1\n\n" + "我今天去学校上课。" * 500)
    world.run()

    (row,) = world.rows("SELECT word_count FROM recent_chapters")
    assert row["word_count"] == 2 + 8 * 500


def test_requests_that_are_too_large_are_halved_and_no_vector_is_paid_twice(world: World, vertex: FakeVertex) -> None:
    vertex.max_request_tokens = 900
    book_id = world.import_book(book(LATIN, "halved", chapters=2))
    world.run()

    assert completed(world, book_id)
    assert vertex.too_large > 0
    assert set(vertex.embedded.values()) == {1}
    assert world.rows("SELECT 1 FROM jobs WHERE attempts > 1") == []
