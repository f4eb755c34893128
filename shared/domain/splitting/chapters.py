"""Splits a manuscript into chapters, and what stands before and after them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.splitting.chapter_evidence import chapter_headings
from shared.domain.splitting.chunks import cut
from shared.domain.splitting.heading_search import find_headings
from shared.domain.splitting.headings import Heading, HeadingKind
from shared.domain.splitting.page import read_page
from shared.domain.splitting.words import count_words, has_word

# A text without headings is split into pieces of about this many words.
WORDS_WITHOUT_HEADINGS = 3000
# More headings than this are no chapters' but a list's; live documents have four digits for a chapter's number.
MAX_CHAPTERS = 9999
# A part whose heading is followed by more than this before its first chapter is a chapter of its own.
_PART_WORDS = 150
_PUBLISHER_LINE = re.compile(r"\*\*\*\s?(START|END) OF\b[^\r\n]*", re.IGNORECASE)
_PUBLISHER_LAST_WORDS = re.compile(
    r"[\r\n]\s{0,40}(End of (?:the |this )?Project Gutenberg[^\r\n]*)\s*$", re.IGNORECASE
)
_LAST_WORDS_LENGTH = 400


class SectionKind(StrEnum):
    FRONT_MATTER = "front_matter"
    CHAPTER = "chapter"
    BACK_MATTER = "back_matter"


class SplitMethod(StrEnum):
    HEADINGS = "headings"
    SIZE = "size"


@dataclass(frozen=True, kw_only=True)
class Section:
    """`text[start:end]`, in characters. Chapters count from 1 over the whole book, whatever they print."""

    kind: SectionKind
    number: int | None
    title: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """Sections that tile the text, in order. `method` says whether headings were found."""

    sections: tuple[Section, ...]
    method: SplitMethod

    @property
    def chapters(self) -> tuple[Section, ...]:
        return tuple(s for s in self.sections if s.kind is SectionKind.CHAPTER)


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """Where a chapter begins."""

    start: int
    title: str


def split_chapters(text: str) -> Split:
    """Every character lands in exactly one section; a text without a word has no chapters."""
    if not has_word(text):
        front = Section(kind=SectionKind.FRONT_MATTER, number=None, title="Front matter", start=0, end=len(text))
        return Split(sections=(front,) if text else (), method=SplitMethod.SIZE)
    begin, end = _body(text)
    page = read_page(text, begin, end)
    headings = find_headings(page)
    chosen = chapter_headings(page, headings)
    marks = _marks(text, chosen, end)
    marks = marks if len(marks) <= MAX_CHAPTERS else []
    method = SplitMethod.HEADINGS if marks else SplitMethod.SIZE
    if marks:
        end = _back_matter(headings, chosen, end)
    else:
        marks = _marks_by_size(text, begin, end)
    return Split(sections=tuple(_sections(len(text), marks, end)), method=method)


def _body(text: str) -> tuple[int, int]:
    """Where the book begins and ends within a publisher's header and licence."""
    begin, end = 0, len(text)
    for line in _PUBLISHER_LINE.finditer(text):
        if text[max(line.start() - 1, 0) : line.start()] not in ("", "\n", "\r", "\ufeff"):
            continue
        if line[1].upper() == "START" and not begin:
            begin = line.end()
        elif line[1].upper() == "END":
            end = line.start()
            break
    tail = max(begin, end - _LAST_WORDS_LENGTH)
    if end < len(text) and (last := _PUBLISHER_LAST_WORDS.search(text[tail:end])):
        end = tail + last.start(1)
    return (begin, end) if has_word(text[begin:end]) else (0, len(text))


def _marks(text: str, chosen: list[Heading], end: int) -> list[_Mark]:
    """One for each chapter. The headings of parts belong to the chapter that follows them."""
    marks: list[_Mark] = []
    parts: dict[str, str] = {}
    pending: int | None = None
    for i, heading in enumerate(chosen):
        start = heading.start if pending is None else pending
        title = heading.title
        if heading.kind is HeadingKind.PART:
            parts = _within(parts, heading)
            stop = chosen[i + 1].start if i + 1 < len(chosen) else end
            words = count_words(text[heading.end : min(stop, heading.end + 20 * _PART_WORDS)])
            is_last = i + 1 == len(chosen)
            if words <= (0 if is_last else _PART_WORDS):
                pending = None if is_last else start
                continue
            title = ", ".join(parts.values())
        elif parts and (heading.kind is not HeadingKind.SPECIAL or pending is not None):
            title = ", ".join([*parts.values(), title])
        marks.append(_Mark(start=start, title=title))
        pending = None
    return marks


def _within(parts: dict[str, str], heading: Heading) -> dict[str, str]:
    """The parts that this one stands in, by keyword, and itself: a new volume ends the book before it."""
    level = heading.keyword or f"#{heading.level}"
    outer = {}
    for keyword, title in parts.items():
        if keyword == level:
            break
        outer[keyword] = title
    return outer | {level: heading.title.rstrip(".:")}


def _back_matter(headings: list[Heading], chosen: list[Heading], end: int) -> int:
    """Where an appendix, notes or index begin after the last chapter, unless every chapter has such."""
    first, last = chosen[0].start, chosen[-1]
    usual = {h.key for h in headings if h.kind is HeadingKind.BACK and first < h.start < last.start}
    return next(
        (
            h.start
            for h in headings
            if h.kind is HeadingKind.BACK and h.start > last.start and h.key not in usual
            if not (last.level and h.level > last.level)
        ),
        end,
    )


def _marks_by_size(text: str, begin: int, end: int) -> list[_Mark]:
    spans = [(a, b) for a, b in cut(text[begin:end], WORDS_WITHOUT_HEADINGS) if has_word(text[begin + a : begin + b])]
    starts = [begin, *(begin + a for a, _ in spans[1:])]
    return [_Mark(start=start, title=f"Part {i}") for i, start in enumerate(starts, 1)]


def _sections(length: int, marks: list[_Mark], end: int) -> list[Section]:
    ends = [m.start for m in marks[1:]] + [end]
    spans = enumerate(zip(marks, ends, strict=True), 1)
    return with_matter([_section(SectionKind.CHAPTER, n, m.title, m.start, stop) for n, (m, stop) in spans], length)


def with_matter(chapters: Sequence[Section], length: int) -> list[Section]:
    """Add to chapters that follow each other what stands before and after them in a text of this length."""
    front = _section(SectionKind.FRONT_MATTER, None, "Front matter", 0, chapters[0].start)
    back = _section(SectionKind.BACK_MATTER, None, "Back matter", chapters[-1].end, length)
    return [*([front] if front.end else []), *chapters, *([back] if back.start < length else [])]


def _section(kind: SectionKind, number: int | None, title: str, start: int, end: int) -> Section:
    return Section(kind=kind, number=number, title=title, start=start, end=end)
