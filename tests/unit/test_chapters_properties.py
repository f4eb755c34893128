from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.splitting.chapters import SectionKind, Split, split_chapters

WORDS = (
    "the rain had stopped before any coach came down our hill and nobody in that yard looked up while "
    "old men counted trunks twice then sat upon their largest part of a book or chapter"
)
UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
TITLES = (
    "The Rain",
    "A Coach Arrives",
    "Trunks",
    "What Martha Saw",
    "The Hill, Again",
    "Of Brothers and Sisters",
)
PARTS: tuple[Callable[[int], str], ...] = (
    lambda n: f"PART {UNITS.split()[n - 1].upper()}",
    lambda n: f"VOLUME {roman(n)}",
    lambda n: f"Book {n}",
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a book prints its chapters' headings, and whether its parts print as Markdown."""

    name: str
    heading: Callable[[int, str], str]
    part_prefix: str = ""


STYLES = (
    Style(name="roman capitals", heading=lambda n, _: f"CHAPTER {roman(n)}"),
    Style(name="arabic", heading=lambda n, _: f"Chapter {n}"),
    Style(name="words", heading=lambda n, _: f"Chapter {UNITS.split()[n - 1].title()}"),
    Style(name="title on the line", heading=lambda n, t: f"Chapter {n}: {t}"),
    Style(name="title after a full stop", heading=lambda n, t: f"CHAPTER {roman(n)}. {t}."),
    Style(name="title after a dash", heading=lambda n, t: f"Chapter {n} — {t}"),
    Style(name="title below", heading=lambda n, t: f"CHAPTER {roman(n)}\n{t}"),
    Style(name="title further below", heading=lambda n, t: f"CHAPTER {n}\n\n{t.upper()}"),
    Style(name="numbers", heading=lambda n, _: f"{n}"),
    Style(name="roman numbers", heading=lambda n, _: f"{roman(n)}."),
    Style(name="number words", heading=lambda n, _: UNITS.split()[n - 1].upper()),
    Style(name="numbered titles", heading=lambda n, t: f"{n}. {t}"),
    Style(name="markdown", heading=lambda n, t: f"## Chapter {n}: {t}", part_prefix="# "),
    Style(name="markdown titles", heading=lambda n, t: f"## {t} {n}", part_prefix="# "),
    Style(name="underlined", heading=lambda n, t: f"{t} {n}\n{'=' * 9}"),
)


def roman(number: int) -> str:
    tens, ones = divmod(number, 10)
    return "X" * tens + ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"][ones]


@st.composite
def prose(draw: st.DrawFn) -> str:
    """Paragraphs of 60 to 400 words in wrapped or unwrapped lines."""
    seed = draw(st.integers(0, len(WORDS.split()) - 1))
    sizes = draw(st.lists(st.integers(30, 100), min_size=2, max_size=4))
    width = draw(st.sampled_from([9, 12, 1000]))
    paragraphs = []
    for size in sizes:
        words = [WORDS.split()[(seed + 7 * k) % len(WORDS.split())] for k in range(size)]
        lines = [" ".join(words[k : k + width]) for k in range(0, size, width)]
        paragraphs.append("\n".join(lines).capitalize() + ".")
    return "\n\n".join(paragraphs)


@dataclass(frozen=True, kw_only=True)
class Book:
    """A text, and where its chapters begin: at their part's heading, if they are a part's first."""

    text: str
    starts: tuple[int, ...]


@st.composite
def books(draw: st.DrawFn) -> Book:
    style, part = draw(st.sampled_from(STYLES)), draw(st.sampled_from(PARTS))
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=3))
    has_parts, restarts = len(sizes) > 1, len(sizes) > 1 and draw(st.booleans())
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    headings: list[str] = []
    for i, size in enumerate(sizes):
        for k in range(size):
            number = k + 1 if restarts else sum(sizes[:i]) + k + 1
            if number > len(UNITS.split()):
                continue
            first = f"{style.part_prefix}{part(i + 1)}\n\n" if has_parts and k == 0 else ""
            headings.append(first + style.heading(number, TITLES[(i + k) % len(TITLES)]))
    text = draw(st.sampled_from(["", "THE HILL\n\nby A. Writer\n\n"]))
    if draw(st.booleans()):
        gap = draw(st.sampled_from(["\n", "\n\n"]))
        text += "CONTENTS\n\n" + gap.join(h.replace("\n\n", gap) for h in headings if "=" not in h) + "\n\n\n"
    if draw(st.booleans()):
        text += "PREFACE\n\n" + draw(prose()) + "\n\n"
    starts = []
    for heading in headings:
        starts.append(len(text.replace("\n", newline)))
        text += f"{heading}\n\n{draw(prose())}\n\n\n"
    return Book(text=text.replace("\n", newline), starts=tuple(starts))


soup = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.sampled_from(["\n", "\n\n", "\r", "\r\n", " ", "\u2028", "\f", "\ufeff"]),
        st.sampled_from(
            ["Chapter 1", "CHAPTER II: ", "Chapter the ", "PART ONE", "1.", "I", "# ", "## X", "===", "---"]
        ),
        st.sampled_from(
            ["```", "~~~", "Contents", "Epilogue", "Index", "Notes", "*** START OF X ***", "*** END OF X ***"]
        ),
        st.sampled_from(["第一章", "one hundred and ", "- ", "* ", "“", "word. ", "word " * 40]),
    ),
    max_size=60,
).map("".join)


def assert_tiles(text: str, split: Split) -> None:
    assert "".join(text[s.start : s.end] for s in split.sections) == text
    assert all(s.start < s.end for s in split.sections)
    assert [c.number for c in split.chapters] == list(range(1, len(split.chapters) + 1))
    order = [s.kind for s in split.sections]
    assert order == sorted(order, key=list(SectionKind).index)


@given(text=soup)
def test_any_text_is_tiled_by_its_sections(text: str) -> None:
    split = split_chapters(text)

    assert_tiles(text, split)


@given(text=soup)
def test_a_text_with_a_word_has_a_chapter_and_every_chapter_has_one(text: str) -> None:
    chapters = split_chapters(text).chapters

    assert bool(chapters) == bool(re.search(r"\w", text))
    assert all(re.search(r"\w", text[s.start : s.end]) for s in chapters)


@given(book=books())
def test_a_books_chapters_are_found_whatever_their_headings_look_like(book: Book) -> None:
    split = split_chapters(book.text)

    assert tuple(c.start for c in split.chapters) == book.starts
    assert_tiles(book.text, split)


@given(text=soup)
def test_splitting_again_gives_the_same_sections(text: str) -> None:
    assert split_chapters(text) == split_chapters(text)
