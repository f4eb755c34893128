"""Whose vectors are whose: what a book finds, what it leaves behind, and what is kept of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from shared.adapters.fake_models import FakeEmbedder
from shared.domain.embeddings import EmbeddingModel, EmbeddingTask, Vector
from shared.domain.stages import JobType
from tests.support.failing_books import refuse_vectors
from tests.support.world import World, await_lock, manuscript

DAY = 24 * 3600.0


@pytest.fixture
def sharing_world(dsn: str) -> Iterator[World]:
    made = World(dsn, share_vectors=True)
    yield made
    made.close()


def finished_book(world: World, content: str, **more: Any) -> str:
    book_id = world.import_book(content, **more)
    world.run()
    (row,) = world.rows("SELECT status FROM processing_status WHERE entity_id = %s", book_id)
    assert row["status"] == "completed"
    return book_id


def vectors(world: World, book_id: str | None = None) -> int:
    (row,) = world.rows(
        "SELECT count(*) AS n FROM book_vectors WHERE %s::uuid IS NULL OR book_id = %s", book_id, book_id
    )
    return int(row["n"])


def unused(world: World) -> int:
    (row,) = world.rows("SELECT count(*) AS n FROM book_vectors WHERE unused_since IS NOT NULL")
    return int(row["n"])


def drop(world: World) -> dict[str, int]:
    return dict(world.app.reconcile.retention.drop(world.clock(), 1000))


def test_a_deleted_book_takes_the_vectors_of_all_its_versions_and_of_texts_that_no_chunk_has(world: World) -> None:
    book_id = finished_book(world, manuscript(chapters=4), google_doc_id="doc")
    finished_book(world, manuscript(chapters=4, changed=[2]), google_doc_id="doc")
    with psycopg.connect(world.dsn) as connection:
        connection.execute("DELETE FROM book_versions WHERE version = 1")
    assert vectors(world, book_id) > len(world.rows("SELECT DISTINCT chunk_text FROM chapter_chunks"))
    world.call("DELETE", f"/api/books/{book_id}")

    assert vectors(world) == 0


def test_an_attempt_whose_book_is_deleted_while_it_computes_leaves_no_vector_behind(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3))
    world.deliver(world.take(JobType.BOOK_PROCESSING))

    def delete(texts: Sequence[str]) -> None:
        world.embedder.before = None
        assert world.call("DELETE", f"/api/books/{book_id}").status_code == 204

    world.embedder.before = delete
    world.deliver(world.take(JobType.EMBEDDING_GENERATION))
    assert world.embedder.calls
    assert vectors(world) == 0


def test_an_attempt_that_keeps_vectors_just_while_its_book_is_deleted_leaves_none_behind(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(world.dsn) as deletion:
        deletion.execute("DELETE FROM books WHERE book_id = %s", (book_id,))
        delivered = pool.submit(world.deliver, message)
        await_lock(world)
        deletion.commit()
        delivered.result(30)

    assert vectors(world) == 0


def test_an_equal_text_of_another_owner_is_embedded_anew_and_each_keeps_their_own(world: World) -> None:
    theirs = finished_book(world, manuscript(3), user="ben")
    finished_book(world, manuscript(3))
    assert set(world.embedder.calls.values()) == {2}
    world.call("DELETE", f"/api/books/{theirs}", user="ben")

    finished_book(world, manuscript(3), title="Once more")
    assert set(world.embedder.calls.values()) == {2}


def test_where_owners_share_an_equal_text_is_embedded_once_and_stays_with_whoever_is_left(sharing_world: World) -> None:
    world = sharing_world
    first = finished_book(world, manuscript(3), user="ben")
    second = finished_book(world, manuscript(3))
    assert vectors(world, first) == vectors(world, second) > 0
    world.call("DELETE", f"/api/books/{first}", user="ben")
    third = finished_book(world, manuscript(3), user="eve")
    assert set(world.embedder.calls.values()) == {1}

    world.call("DELETE", f"/api/books/{second}")
    world.call("DELETE", f"/api/books/{third}", user="eve")
    assert vectors(world) == 0
    finished_book(world, manuscript(3))
    assert set(world.embedder.calls.values()) == {2}


def test_a_book_shares_with_its_owners_other_books_and_takes_what_it_uses_along(world: World) -> None:
    first = finished_book(world, manuscript(3))
    finished_book(world, manuscript(3), title="The same")
    world.call("DELETE", f"/api/books/{first}")
    finished_book(world, manuscript(3), title="The same again")

    assert set(world.embedder.calls.values()) == {1}


def test_a_forced_import_takes_no_vector_that_was_computed_before_it_nor_another_books(world: World) -> None:
    finished_book(world, manuscript(2), google_doc_id="doc")
    finished_book(world, manuscript(2), title="The same")
    world.clock.advance(60)
    finished_book(world, manuscript(2), google_doc_id="doc", force=True)
    assert set(world.embedder.calls.values()) == {2}

    finished_book(world, manuscript(2), title="The same, by force", force=True)
    assert set(world.embedder.calls.values()) == {3}
    finished_book(world, manuscript(2), title="The same, for nothing")
    assert set(world.embedder.calls.values()) == {3}


def test_vectors_that_no_chunk_has_go_after_thirty_days_and_the_others_stay(world: World) -> None:
    book_id = world.import_book(manuscript(chapters=3, words=450))
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.EMBEDDING_GENERATION)
    with psycopg.connect(world.dsn) as connection:
        connection.execute("ALTER TABLE chapter_chunks ADD CONSTRAINT full_disk CHECK (chunk_index < 0)")
    world.deliver(message)
    kept = vectors(world, book_id)
    assert unused(world) == kept > 0
    world.clock.advance(29 * DAY)
    assert drop(world)["book_vectors"] == 0
    with psycopg.connect(world.dsn) as connection:
        connection.execute("ALTER TABLE chapter_chunks DROP CONSTRAINT full_disk")
    world.broker.waiting.append(message)
    world.run()
    assert unused(world) == 0

    world.clock.advance(60 * DAY)
    assert drop(world)["book_vectors"] == 0
    assert vectors(world, book_id) == kept
    assert set(world.embedder.calls.values()) == {1}


def test_vectors_of_a_version_that_was_dropped_are_kept_thirty_days_more_unless_the_book_has_them_still(
    world: World,
) -> None:
    book_id = finished_book(world, manuscript(chapters=4), google_doc_id="doc")
    world.clock.advance(DAY)
    finished_book(world, manuscript(chapters=4, changed=[2]), google_doc_id="doc")
    world.clock.advance(8 * DAY)
    assert drop(world)["versions"] == 1
    still = len(world.rows("SELECT DISTINCT chunk_text FROM chapter_chunks"))
    assert (vectors(world, book_id) - still, unused(world)) == (2, 2)

    world.clock.advance(29 * DAY)
    assert drop(world)["book_vectors"] == 0
    world.clock.advance(2 * DAY)
    assert drop(world)["book_vectors"] == 2
    assert vectors(world, book_id) == still


def test_vectors_of_a_chapter_that_is_embedded_anew_with_other_results_are_unused(world: World) -> None:
    finished_book(world, manuscript(chapters=2))
    with psycopg.connect(world.dsn) as connection:
        connection.execute(
            "UPDATE jobs SET state = 'pending', permitted_at = now() WHERE type = 'embedding-generation'"
        )
        connection.execute("UPDATE book_vectors SET embedding_version = 'of before'")
        connection.execute("UPDATE chapter_chunks SET embedding_version = 'of before'")
        connection.execute("UPDATE recent_chapters SET embedding_timestamp = NULL")
    before = vectors(world)
    (message,) = {m.data["job_id"]: m for m in world.broker.published if m.topic == "embedding-generation"}.values()
    assert world.deliver(message) == 204

    assert (vectors(world), unused(world)) == (2 * before, before)


def test_texts_that_the_model_took_before_it_refused_one_are_not_paid_again(world: World) -> None:
    refused = refuse_vectors(world, 9)
    book_id = world.import_book(manuscript(chapters=12))
    world.run()
    assert world.status(book_id)["chapters"]["failed"] == 1
    refused.clear()
    world.call("POST", f"/api/books/{book_id}/retry")
    world.run()

    assert set(world.embedder.calls.values()) == {1}
    assert unused(world) == 0


class VaryingEmbedder(FakeEmbedder):
    """Never says quite the same twice. Takes one text at once, and two chapters of a book are a group."""

    @property
    def model(self) -> EmbeddingModel:
        return replace(super().model, max_texts=1, max_request_tokens=300)

    def embed(self, texts: Sequence[str], task: EmbeddingTask) -> list[Vector]:
        (vector,) = super().embed(texts, task)
        varied = [*vector[:-1], vector[-1] + self.requests / 10]
        length = math.hypot(*varied)
        return [[x / length for x in varied]]


@pytest.mark.parametrize(("force", "seconds"), [(False, 0), (True, -300)])
def test_of_a_text_that_two_jobs_embed_at_once_both_have_the_vector_that_was_kept_first(
    dsn: str, force: bool, seconds: int
) -> None:
    """Else a chapter's vector would not be the mean of those that its chunks have. Also of a forced import, and where
    clocks are behind that of the process which imported it."""
    one, other = manuscript(2, 60).strip().split("\n\nCHAPTER 2")
    text = "\n\n".join([one, f"CHAPTER 2{other}", one])
    with closing(World(dsn, VaryingEmbedder())) as world, ThreadPoolExecutor(1) as pool:
        world.import_book(text, force=force)
        world.clock.advance(seconds)
        world.deliver(world.take(JobType.BOOK_PROCESSING))
        first, second = world.take(JobType.EMBEDDING_GENERATION), world.take(JobType.EMBEDDING_GENERATION)
        second_asks, first_has_kept = threading.Event(), threading.Event()

        def ask(texts: Sequence[str]) -> None:
            if texts[0].startswith("CHAPTER 2"):
                first_has_kept.set()
                assert answer.result(30) == 204
            elif not second_asks.is_set():
                second_asks.set()
                assert first_has_kept.wait(30)

        world.embedder.before = ask
        answer = pool.submit(world.deliver, second)
        assert second_asks.wait(30)
        world.deliver(first)

        assert world.embedder.requests == 3
        assert world.rows("""
            SELECT count(*) AS n FROM recent_chapters JOIN chapter_chunks USING (chapter_id)
            WHERE embedding_vector <-> chunk_embedding < 1e-5""") == [{"n": 3}]


def test_a_vector_of_another_book_is_not_taken_where_this_book_gets_one_at_that_moment(dsn: str) -> None:
    """Else the chapter's vector would be made of the other's, and its chunk have this one's."""
    with closing(World(dsn, VaryingEmbedder())) as world, ThreadPoolExecutor(1) as pool:
        finished_book(world, manuscript(1, 60))
        world.import_book(manuscript(1, 60), title="The same")
        world.deliver(world.take(JobType.BOOK_PROCESSING))
        message = world.take(JobType.EMBEDDING_GENERATION)
        with psycopg.connect(world.dsn) as rival:
            rival.execute("""
                INSERT INTO book_vectors (book_id, content_hash, embedding_model, embedding_version, task, owner_uid,
                                          embedding, created_at, unused_since)
                SELECT b.book_id, content_hash, embedding_model, embedding_version, task, v.owner_uid,
                       embedding * array_fill(-1, ARRAY[vector_dims(embedding)])::vector, v.created_at, unused_since
                FROM book_vectors v JOIN books b ON b.title = 'The same'""")
            delivered = pool.submit(world.deliver, message)
            await_lock(world)
            rival.commit()
            assert delivered.result(30) == 204

        assert world.rows("""
            SELECT count(*) AS n FROM recent_chapters JOIN chapter_chunks USING (chapter_id)
            WHERE embedding_vector <-> chunk_embedding < 1e-5""") == [{"n": 2}]


def test_what_is_answered_for_a_forced_import_is_not_asked_again_by_a_process_whose_clock_is_behind(
    world: World,
) -> None:
    world.import_book(manuscript(1, 60), force=True)
    world.clock.advance(-300)
    world.deliver(world.take(JobType.BOOK_PROCESSING))
    message = world.take(JobType.CHAPTER_PROCESSING)
    with psycopg.connect(world.dsn) as connection:
        connection.execute("ALTER TABLE recent_chapters ADD CONSTRAINT full_disk CHECK (metadata IS NULL)")
    failed = world.deliver(message)
    with psycopg.connect(world.dsn) as connection:
        connection.execute("ALTER TABLE recent_chapters DROP CONSTRAINT full_disk")
    world.clock.advance(60)

    assert (failed, world.deliver(message)) == (429, 204)
    assert world.extractor.calls["chapter"] == 1


def test_a_forced_import_replaces_the_vectors_that_were_computed_before_it(dsn: str) -> None:
    with closing(World(dsn, VaryingEmbedder())) as world:
        finished_book(world, manuscript(1, 60), google_doc_id="doc")
        before = world.rows("SELECT embedding::text AS vector FROM book_vectors")
        world.clock.advance(1)
        finished_book(world, manuscript(1, 60), google_doc_id="doc", force=True)

        assert len(before) == 1
        assert world.rows("SELECT embedding::text AS vector FROM book_vectors") != before
