"""Chinese volumes, and texts in which every line looks like a heading."""

from __future__ import annotations

import pytest

from shared.domain.splitting.chapters import MAX_CHAPTERS, SplitMethod, split_chapters
from shared.domain.splitting.heading_search import MAX_HEADINGS


@pytest.mark.parametrize(("volume", "chapters"), [("卷", 3), ("部", 1)])
def test_chinese_volumes_follow_one_another_instead_of_nesting(volume: str, chapters: int) -> None:
    text = "春天来了。" * 80
    inner = "".join(f"第{c}章\n\n{text}\n\n" for c in range(1, chapters + 1))
    split = split_chapters("".join(f"第{v}{volume}\n\n{inner}" for v in range(1, 4)))

    assert [s.title for s in split.chapters] == [
        f"第{v}{volume}, 第{c}章" for v in range(1, 4) for c in range(1, chapters + 1)
    ]


def test_chinese_volumes_without_chapters_are_the_chapters() -> None:
    split = split_chapters("".join(f"第{v}卷\n\n{'春天来了。' * 80}\n\n" for v in range(1, 4)))

    assert [s.title for s in split.chapters] == ["第1卷", "第2卷", "第3卷"]


@pytest.mark.parametrize("line", ["1\n\n", "# A\n", "CHAPTER 1\n", "Chapter I\n\nRain.\n\n"])
def test_where_every_line_looks_like_a_heading_none_is(line: str) -> None:
    text = line * (MAX_HEADINGS + 1)
    split = split_chapters(text)

    assert split.method is SplitMethod.SIZE
    assert "".join(text[s.start : s.end] for s in split.sections) == text


def test_a_list_of_more_chapters_than_a_book_may_have_is_split_by_size() -> None:
    chapters = [f"Chapter {n}\n\nIt rained.\n\n" for n in range(1, MAX_CHAPTERS + 2)]
    assert split_chapters("".join(chapters)).method is SplitMethod.SIZE
    assert len(split_chapters("".join(chapters[:-1])).chapters) == MAX_CHAPTERS


@pytest.mark.parametrize(
    "hostile",
    ["```" + " " * 2_000_000 + "!\n", "~~~" + "\t" * 2_000_000 + "!\n", ("# !" + " " * 196 + "!\n") * 10_000],
    ids=["a fence", "a fence of tildes", "headings"],
)
def test_blanks_in_a_line_cost_no_more_than_their_number(hostile: str) -> None:
    """With the square of it, or its cube, this would not end."""
    text = f"Some words.\n\n{hostile}\nMore words.\n"
    assert "".join(text[s.start : s.end] for s in split_chapters(text).sections) == text


def test_the_hashes_that_close_a_heading_are_no_part_of_it() -> None:
    text = "".join(f"# {title}\n\n{'It rained. ' * 40}\n\n" for title in ("One ##", "Two # \t", "In C#", "#"))
    assert [s.title for s in split_chapters(text).chapters][:2] == ["One", "Two"]
