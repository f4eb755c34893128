"""What search finds: enough for owners of any size, by the model of each book, and by words whatever the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
import pytest

from infra.local.database import MIGRATIONS
from shared.adapters.fake_models import FakeEmbedder
from shared.adapters.postgres.database import Database
from shared.adapters.postgres.migrations import migrate
from shared.adapters.postgres.search_index import PostgresSearchIndex
from shared.domain.embeddings import EmbeddingModel, ModelKey, Vector
from shared.domain.errors import ModelUnavailable
from shared.domain.ranking import Candidate
from tests.support.failing_books import refuse_vectors
from tests.support.passages import Passage, copy_books, show_to_readers
from tests.support.world import World, manuscript

MODEL = ModelKey(name="m", version="1")
Vectors = npt.NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    # NumPy for Python 3.11 says of a norm that it is Any.
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def like_a_models(count: int, seed: int = 1, dimensions: int = 384) -> Vectors:
    """Random ones that vary in about as many directions as those of text do."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((40, dimensions))
    noise = rng.standard_normal((count, dimensions))
    return unit((rng.standard_normal((count, 40)) @ directions + noise).astype(np.float32))


def add_books(dsn: str, owner: str, vectors: Vectors, text: str = "a passage", model: ModelKey = MODEL) -> list[UUID]:
    """One for each hundred vectors, of four chapters, as readers see it."""
    passages = (Passage(text=f"{text} {n}", vector=v.tolist()) for n, v in enumerate(vectors))
    books = copy_books(dsn, [owner] * (len(vectors) // 100), passages, model, chapters=4, chunks=25)
    show_to_readers(dsn, books)
    return books


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    made = Database(dsn)
    yield made
    made.close()


def by_meaning(found: Sequence[Candidate]) -> list[float]:
    return sorted((c.similarity for c in found if c.similarity is not None), reverse=True)


def nearest(vectors: Vectors, query: Vectors, count: int) -> list[float]:
    return sorted((vectors @ query).tolist(), reverse=True)[:count]


def test_an_owner_of_few_passages_finds_all_asked_for_among_many_that_are_nearer(dsn: str, database: Database) -> None:
    query = like_a_models(1, seed=2)[0]
    add_books(dsn, "ben", unit(query + 0.05 * like_a_models(4_000)))
    anns = like_a_models(300, seed=3)
    add_books(dsn, "ann", anns)

    found = PostgresSearchIndex(database).candidates("ann", None, "nothing", {MODEL: query.tolist()}, 100)
    assert by_meaning(found) == pytest.approx(nearest(anns, query, 100), abs=1e-5)


@pytest.mark.parametrize("dimensions", [300, 384, 768])
def test_no_more_passages_than_are_compared_are_searched_exactly(dsn: str, database: Database, dimensions: int) -> None:
    vectors = like_a_models(600, dimensions=dimensions)
    query = like_a_models(1, seed=2, dimensions=dimensions)[0]
    add_books(dsn, "ann", vectors)

    index = PostgresSearchIndex(database, compared=600)
    found = index.candidates("ann", None, "nothing", {MODEL: query.tolist()}, 100)
    assert by_meaning(found) == pytest.approx(nearest(vectors, query, 100), abs=1e-5)


@pytest.mark.parametrize(("dimensions", "count", "compared"), [(384, 20_000, 1_000), (768, 5_000, 400)])
def test_of_many_more_passages_than_are_compared_nearly_all_of_the_nearest_are_found(
    dsn: str, database: Database, dimensions: int, count: int, compared: int
) -> None:
    vectors = like_a_models(count, dimensions=dimensions)
    add_books(dsn, "ann", vectors)
    index = PostgresSearchIndex(database, compared=compared)

    found = 0
    for query in like_a_models(10, seed=2, dimensions=dimensions):
        last = nearest(vectors, query, 100)[-1]
        similarities = by_meaning(index.candidates("ann", None, "nothing", {MODEL: query.tolist()}, 100))
        assert len(similarities) == 100
        found += sum(s > last - 1e-5 for s in similarities)
    assert found / 1_000 >= 0.98


def test_a_frequent_word_ranks_what_a_rarer_one_finds(dsn: str, database: Database) -> None:
    books = add_books(dsn, "ann", like_a_models(600), text="the captain said")
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE chapter_chunks SET chunk_text = 'the white whale' WHERE chunk_index = 24")
    show_to_readers(dsn, books)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE searched_passages")
    index = PostgresSearchIndex(database, ranked=50)

    found = index.candidates("ann", None, "captain whale", {}, 100)
    assert [c.passage for c in found] == ["the white whale"] * 24
    alone = index.candidates("ann", None, "captain", {}, 100)
    assert len(alone) == 50
    assert all("captain" in c.passage and c.text_rank > 0 for c in alone)


def test_a_frequent_word_ranks_what_is_near(dsn: str, database: Database) -> None:
    vectors = like_a_models(600)
    add_books(dsn, "ann", vectors, text="the captain said")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ANALYZE searched_passages")

    found = PostgresSearchIndex(database, ranked=50).candidates(
        "ann", None, "captain", {MODEL: vectors[0].tolist()}, 10
    )
    assert sum(c.text_rank > 0 for c in found) == len(found) >= 10


def test_what_search_reads_follows_the_version_that_readers_see(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=4), google_doc_id="doc")
    world.run()
    assert searched(world) == seen_by_readers(world) != []

    before = searched(world)
    world.import_book(manuscript(chapters=3, changed=[2]), google_doc_id="doc")
    while "book-completion" not in {m.topic for m in world.broker.waiting}:
        world.deliver(world.broker.waiting.pop(0))
    assert searched(world) == before
    world.run()
    assert searched(world) == seen_by_readers(world) != before
    world.call("DELETE", f"/api/books/{book_id}")
    assert searched(world) == []
    assert world.rows("SELECT * FROM searched_passages") == []


def test_a_chapter_that_is_made_anew_is_found_again(world: World) -> None:
    refused = refuse_vectors(world, 2)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    lacking = len(searched(world))
    refused.clear()
    world.call("POST", f"/api/books/{book_id}/retry")
    world.run()

    assert lacking < len(searched(world))
    assert searched(world) == seen_by_readers(world)


def searched(world: World) -> list[dict[str, Any]]:
    found = world.rows("""
        SELECT c.chapter_id, c.owner_uid, embedding_model, embedding_version, cardinality(codes) AS codes,
               count(p.chunk_index) AS passages
        FROM searched_chapters c LEFT JOIN searched_passages p USING (book_id, chapter_id)
        GROUP BY c.book_id, c.chapter_id ORDER BY chapter_id""")
    return found


def seen_by_readers(world: World) -> list[dict[str, Any]]:
    return world.rows("""
        SELECT r.chapter_id, b.owner_uid, k.embedding_model, k.embedding_version, count(*)::int AS codes,
               count(*) AS passages
        FROM books b JOIN recent_chapters r ON r.book_id = b.book_id AND r.version = b.current_version
        JOIN chapter_chunks k USING (chapter_id) GROUP BY 1, 2, 3, 4 ORDER BY 1""")


class NamedEmbedder(FakeEmbedder):
    """A fake of another name, and with other vectors."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.is_away = False

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, name=self._name)

    def embed(self, texts: Sequence[str], task: Any) -> list[Vector]:
        if self.is_away:
            raise ModelUnavailable("429: away")
        return super().embed([self._name + t for t in texts], task)


def world_of(dsn: str, embedder: NamedEmbedder, *others: NamedEmbedder) -> World:
    """Which embeds by the first, and can ask the others too."""
    by_key = {e.model.key: e for e in (embedder, *others)}
    return World(dsn, embedder=embedder, overrides={"embedders": by_key.get})


@pytest.fixture
def before() -> NamedEmbedder:
    return NamedEmbedder("before")


@pytest.fixture
def after() -> NamedEmbedder:
    return NamedEmbedder("after")


ZEBRA = manuscript(2, words=90, name="first").replace(
    "CHAPTER 2\n\n", "CHAPTER 2\n\nA zebra crossed the frozen canal. "
)
OTTER = manuscript(2, words=90, name="second").replace(
    "CHAPTER 1\n\n", "CHAPTER 1\n\nAn otter crossed the frozen canal. "
)


def imported(dsn: str, embedder: NamedEmbedder, text: str) -> str:
    world = world_of(dsn, embedder)
    book_id = world.import_book(text)
    world.run()
    world.close()
    return book_id


def search(world: World, query: str, **more: Any) -> Any:
    reply = world.get("/api/search", q=query, **more)
    assert reply.status_code == 200, reply.text
    return reply.json


def test_words_find_passages_of_a_model_that_cannot_be_asked_any_more(
    dsn: str, before: NamedEmbedder, after: NamedEmbedder
) -> None:
    imported(dsn, before, ZEBRA)
    world = world_of(dsn, after)

    found = search(world, "zebra on a canal")
    assert "zebra" in found["results"][0]["passage"]
    assert {r["similarity"] for r in found["results"]} == {None}
    assert found["by"] == ["words"]
    world.close()


def test_books_of_two_models_are_each_searched_by_their_own(
    dsn: str, before: NamedEmbedder, after: NamedEmbedder
) -> None:
    books = [imported(dsn, before, ZEBRA), imported(dsn, after, OTTER)]
    world = world_of(dsn, after, before)

    for book_id in books:
        (passage, *_) = search(world, "canal", book_id=book_id)["results"]
        (same, *_) = search(world, passage["passage"])["results"]
        assert (same["chapter_id"], same["similarity"]) == (passage["chapter_id"], pytest.approx(1))
    found = search(world, "canal", k=50)
    assert {r["book_id"] for r in found["results"]} == set(books)
    assert None not in {r["similarity"] for r in found["results"]}
    assert found["by"] == ["meaning", "words"]
    world.close()


def test_of_two_models_the_one_that_is_away_leaves_its_books_to_the_words(
    dsn: str, before: NamedEmbedder, after: NamedEmbedder
) -> None:
    books = [imported(dsn, before, ZEBRA), imported(dsn, after, OTTER)]
    world = world_of(dsn, after, before)
    before.is_away = True

    found = {r["book_id"]: r for r in search(world, "crossed the frozen canal", k=2)["results"]}
    assert [found[b]["similarity"] is None for b in books] == [True, False]
    world.close()


def test_a_query_is_embedded_once_by_each_model_that_is_needed(
    dsn: str, before: NamedEmbedder, after: NamedEmbedder
) -> None:
    book_id = imported(dsn, before, ZEBRA)
    imported(dsn, after, OTTER)
    before.requests = after.requests = 0
    world = world_of(dsn, after, before)
    search(world, "canal")
    assert (before.requests, after.requests) == (1, 1)
    search(world, "canal", book_id=book_id)
    search(world, "canal")

    assert (before.requests, after.requests) == (3, 2)
    world.close()


def test_while_the_model_is_away_search_goes_on_by_words_and_says_so(world: World) -> None:
    world.import_book(ZEBRA)
    world.run()

    def away(texts: Sequence[str]) -> None:
        raise ModelUnavailable("429: away")

    world.embedder.before = away
    found = search(world, "zebra")
    assert found["by"] == ["words"]
    assert "zebra" in found["results"][0]["passage"]


def test_books_of_before_are_shown_to_search_by_the_migration(empty_dsn: str, tmp_path: Any) -> None:
    for file in MIGRATIONS.glob("000[1-7]_*.sql"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    migrate(empty_dsn, tmp_path)
    vectors = like_a_models(300)
    passages = (Passage(text="a storm at sea", vector=v.tolist()) for v in vectors)
    books = copy_books(empty_dsn, ["ann", "ann", "ben"], passages, MODEL, chapters=4, chunks=25)
    show_to_readers(empty_dsn, books)
    migrate(empty_dsn, MIGRATIONS)
    database = Database(empty_dsn)

    index = PostgresSearchIndex(database)
    assert index.models("ann", None) == index.models("ben", books[2]) == [MODEL]
    assert index.models("ben", books[0]) == []
    found = index.candidates("ann", None, "storm", {MODEL: vectors[7].tolist()}, 300)
    assert {c.book_id for c in found} == set(books[:2])
    assert len(found) == 200
    assert all(c.text_rank > 0 for c in found)
    database.close()
