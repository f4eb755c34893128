"""The largest and the smallest books go through, or are refused with the reason."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from shared.config import Config
from shared.domain.splitting.chapters import MAX_CHAPTERS
from tests.support.world import World, manuscript

WORDS = manuscript(chapters=1, words=2_000).split(".", 1)[1].strip()
MEGABYTE = 1_000_000


def ended(world: World, content: str) -> Any:
    """The status of a book that went all the way, nothing of which is missing."""
    book_id = world.import_book(content)
    world.run()
    status = world.status(book_id)
    assert (status["status"], status["progress"], status["chapters"]["failed"]) == ("completed", 100, 0)
    chapters = status["chapters"]
    assert chapters["processed"] == chapters["embedded"] == chapters["total"]
    (row,) = world.rows(
        """SELECT count(*) AS chunks, count(*) FILTER (WHERE chunk_embedding IS NULL) AS bare,
                  sum(word_count) AS words FROM chapter_chunks"""
    )
    (whole,) = world.rows("SELECT sum(word_count) AS words FROM recent_chapters")
    assert row["chunks"] > 0
    assert (row["bare"], row["words"]) == (0, whole["words"])
    return status


def test_a_book_of_one_word(world: World) -> None:
    assert ended(world, "Word")["chapters"]["total"] == 1


def test_ten_megabytes_in_sixty_chapters(world: World) -> None:
    chapter = "\n\n".join([WORDS] * (10 * MEGABYTE // 60 // len(WORDS) + 1))
    text = "\n\n".join(f"CHAPTER {n}\n\nThe sum of {n}. {chapter}" for n in range(1, 61))
    assert len(text) > 10 * MEGABYTE
    assert ended(world, text)["chapters"]["total"] == 60


def test_megabytes_without_a_heading_are_split_by_size(world: World) -> None:
    assert ended(world, "\n\n".join([WORDS] * (3 * MEGABYTE // len(WORDS))))["chapters"]["total"] > 100


def test_a_chapter_of_two_hundred_thousand_words(world: World) -> None:
    text = "CHAPTER 1\n\n" + "\n\n".join([WORDS] * 101) + "\n\nCHAPTER 2\n\n" + WORDS
    status = ended(world, text)
    assert status["chapters"]["total"] == 2
    (longest,) = world.rows("SELECT max(word_count) AS words FROM recent_chapters")
    assert longest["words"] > 200_000


def test_three_thousand_chapters(dsn: str) -> None:
    with closing(World(dsn, calls_at_once=5)) as world:
        assert ended(world, manuscript(chapters=3_000, words=18))["chapters"]["total"] == 3_000


def test_more_headings_than_a_book_may_have_chapters_are_a_list(world: World) -> None:
    text = "\n\n".join(f"CHAPTER {n}\n\nA line." for n in range(1, MAX_CHAPTERS + 2))
    assert 1 <= ended(world, text)["chapters"]["total"] < 100


def test_an_empty_text_is_refused_at_once(world: World) -> None:
    reply = world.post({"title": "Empty", "content": ""})
    assert reply.status_code == 422
    assert reply.json["errors"][0]["field"] == "content"


@pytest.mark.parametrize("content", [" \n\t ", "***", "\u200b", "!?\n…\n"])
def test_a_text_without_a_word_is_refused_at_once_and_leaves_nothing(world: World, content: str) -> None:
    reply = world.post({"title": "Blank", "content": content})

    assert (reply.status_code, reply.mimetype) == (422, "application/problem+json")
    assert "holds no words" in reply.json["detail"]
    assert world.rows("SELECT 1 FROM books UNION ALL SELECT 1 FROM dead_letters") == []


def test_a_text_beyond_the_limit_is_refused_with_the_limit(world: World) -> None:
    limit = Config.model_fields["max_body_bytes"].default
    reply = world.post({"title": "Large", "content": "word " * (limit // 5)})
    assert reply.status_code == 413
    assert str(limit) in reply.json["detail"].replace(",", "")
    assert world.rows("SELECT 1 FROM books") == []
