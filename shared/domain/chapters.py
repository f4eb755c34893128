"""Splits a manuscript into chapters, and what stands before and after them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.chunks import count_words, cut
from shared.domain.headings import Heading, HeadingKind, read_heading

# A text without headings is split into pieces of about this many words.
WORDS_WITHOUT_HEADINGS = 3000
# What is called a part, and is followed by more than this before a chapter begins, is none.
_PART_WORDS = 150
# Between the lines of a table of contents there is hardly a word.
_TOC_WORDS = 15
_BLOCK_LINES = 3
_PUBLISHER_START = re.compile(r"\*\*\*\s*START OF (?:THE|THIS) .*", re.IGNORECASE)
_PUBLISHER_END = re.compile(r"\*\*\*\s*END OF (?:THE|THIS) .*", re.IGNORECASE)
_FENCE = re.compile(r"\s*(?:```|~~~)")
_SETEXT = re.compile(r"\s*(?:=+|-+)\s*$")


class SectionKind(StrEnum):
    FRONT_MATTER = "front_matter"
    CHAPTER = "chapter"
    BACK_MATTER = "back_matter"


class SplitMethod(StrEnum):
    HEADINGS = "headings"
    SIZE = "size"


@dataclass(frozen=True, kw_only=True)
class Section:
    """`text[start:end]`, in characters. Chapters are numbered from 1 over the whole book, whatever they print."""

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


@dataclass(frozen=True)
class _Mark:
    start: int
    title: str


def split_chapters(text: str) -> Split:
    """Every character lands in exactly one section; a text without a word has no chapters."""
    body_start, body_end = _body(text)
    headings = _headings(text, body_start, body_end)
    marks, end = _marks(text, headings, body_end)
    method = SplitMethod.HEADINGS
    if not marks:
        method = SplitMethod.SIZE
        spans = cut(text[body_start:body_end], WORDS_WITHOUT_HEADINGS)
        starts = [body_start, *(body_start + a for a, _ in spans[1:])] if spans else []
        marks = [_Mark(start, f"Part {i}") for i, start in enumerate(starts, 1)]
    return Split(sections=tuple(_sections(text, marks, end)), method=method)


def _body(text: str) -> tuple[int, int]:
    """Where the book begins and ends within a publisher's header and licence."""
    start = _PUBLISHER_START.search(text)
    begin = start.end() if start else 0
    end = _PUBLISHER_END.search(text, begin)
    return begin, end.start() if end else len(text)


def _sections(text: str, marks: list[_Mark], end: int) -> list[Section]:
    if not marks:
        return [_section(SectionKind.FRONT_MATTER, None, "Front matter", 0, len(text))] if text else []
    sections = []
    if marks[0].start > 0:
        sections.append(_section(SectionKind.FRONT_MATTER, None, "Front matter", 0, marks[0].start))
    ends = [m.start for m in marks[1:]] + [end]
    for number, (mark, stop) in enumerate(zip(marks, ends, strict=True), 1):
        sections.append(_section(SectionKind.CHAPTER, number, mark.title, mark.start, stop))
    if end < len(text):
        sections.append(_section(SectionKind.BACK_MATTER, None, "Back matter", end, len(text)))
    return sections


def _section(kind: SectionKind, number: int | None, title: str, start: int, end: int) -> Section:
    return Section(kind=kind, number=number, title=title, start=start, end=end)


def _headings(text: str, start: int, end: int) -> list[Heading]:
    """All lines that could be headings, in order: Markdown's anywhere, others where they stand alone."""
    lines = text[start:end].splitlines(keepends=True)
    found, offset, i, fenced = [], start, 0, False
    while i < len(lines):
        if _FENCE.match(lines[i]):
            fenced = not fenced
        heading, used = (None, 1) if fenced else _heading_at(lines, i, offset)
        if heading:
            found.append(heading)
        offset += sum(len(x) for x in lines[i : i + used])
        i += used
    return found


def _heading_at(lines: list[str], i: int, offset: int) -> tuple[Heading | None, int]:
    """The heading that begins at line `i`, if one does, and how many lines it takes."""
    line = lines[i].strip()
    if not line or len(line) > 300:
        return None, 1
    following = lines[i + 1] if i + 1 < len(lines) else ""
    if line.startswith("#"):
        return read_heading([line], offset, offset + len(lines[i])), 1
    if i and lines[i - 1].strip():
        return None, 1
    if _SETEXT.match(following) and following.strip():
        level = "#" if following.strip()[0] == "=" else "##"
        return read_heading([f"{level} {line}"], offset, offset + len(lines[i]) + len(following)), 2
    block = _block(lines, i)
    if len(block) <= _BLOCK_LINES and (heading := read_heading(block, offset, offset + sum(map(len, block)))):
        if len(block) == 1 or _alone(line) is not None:
            return heading, len(block)
    return _alone(line, offset, len(lines[i])), 1


def _block(lines: list[str], i: int) -> list[str]:
    j = i
    while j < len(lines) and lines[j].strip() and j - i <= _BLOCK_LINES:
        j += 1
    return lines[i:j]


def _alone(line: str, offset: int = 0, length: int = 0) -> Heading | None:
    """A heading whose text follows without a blank line: only if it says `Chapter` and a number."""
    heading = read_heading([line], offset, offset + length)
    if heading and heading.kind in (HeadingKind.CHAPTER, HeadingKind.PART, HeadingKind.SPECIAL):
        return heading
    return None


def _marks(text: str, headings: list[Heading], body_end: int) -> tuple[list[_Mark], int]:
    """Where the chapters begin, with their titles, and where the last one ends."""
    real = _without_false_parts(text, _without_contents(text, headings, body_end), body_end)
    chosen = _family(text, real, body_end)
    if not chosen:
        return [], body_end
    marks: list[_Mark] = []
    part: Heading | None = None
    pending: int | None = None
    for heading in chosen:
        if heading.kind is HeadingKind.PART:
            part, pending = heading, heading.start if pending is None else pending
            continue
        title = heading.title
        if part and heading.kind is not HeadingKind.SPECIAL:
            title = f"{part.title.rstrip('.:')}, {title}"
        marks.append(_Mark(heading.start if pending is None else pending, title))
        pending = None
    if marks and pending is not None:
        marks.append(_Mark(pending, part.title if part else ""))
    back = [h for h in headings if h.kind is HeadingKind.BACK and marks and h.start > marks[-1].start]
    return marks, back[0].start if back else body_end


def _words_after(text: str, headings: list[Heading], i: int, body_end: int) -> int:
    stop = headings[i + 1].start if i + 1 < len(headings) else body_end
    return count_words(text[headings[i].end : min(stop, headings[i].end + 2000)])


def _without_false_parts(text: str, headings: list[Heading], body_end: int) -> list[Heading]:
    if not any(h.kind in (HeadingKind.CHAPTER, HeadingKind.BARE) for h in headings):
        return headings
    kept = []
    for i, h in enumerate(headings):
        if h.kind is HeadingKind.PART:
            before_part = i + 1 < len(headings) and headings[i + 1].kind is HeadingKind.PART
            if _words_after(text, headings, i, body_end) > (_TOC_WORDS if before_part else _PART_WORDS):
                continue
        kept.append(h)
    return kept


def _without_contents(text: str, headings: list[Heading], body_end: int) -> list[Heading]:
    """Leaves out a table of contents: headings close upon each other, most of which come again later."""
    thin = [_words_after(text, headings, i, body_end) <= _TOC_WORDS for i in range(len(headings))]
    kept: list[Heading] = []
    later = Counter(h.key for h in headings)
    i = 0
    while i < len(headings):
        j = i
        while j < len(headings) and thin[j]:
            j += 1
        run = headings[i : j + 1]  # with the one after it: the last entry stands before the first page
        for h in run:
            later[h.key] -= 1
        repeated = [h for h in run if later[h.key] > 0]
        if j - i >= 2 and len(repeated) * 2 > len(run):
            kept += [h for h in run[-1:] if h not in repeated]
        else:
            kept += run
        i += len(run)
    return kept


def _family(text: str, headings: list[Heading], body_end: int) -> list[Heading]:
    """The headings of the style that the book uses for its chapters, and those of its parts."""
    by_kind = Counter(h.kind for h in headings)
    special = [HeadingKind.SPECIAL]
    if by_kind[HeadingKind.CHAPTER] >= 2 or by_kind[HeadingKind.CHAPTER] and by_kind[HeadingKind.MARKDOWN] < 2:
        return [h for h in headings if h.kind in (HeadingKind.CHAPTER, HeadingKind.PART, *special)]
    if level := _markdown_level(headings):
        return [
            h
            for h in headings
            if h.level == level and h.kind is not HeadingKind.BACK or h.level and h.kind is HeadingKind.PART
        ]
    bare = _numbered(text, [h for h in headings if h.kind is HeadingKind.BARE], body_end)
    if len(bare) >= 2:
        chosen = {h.start for h in bare}
        return [h for h in headings if h.start in chosen or h.kind in (HeadingKind.PART, *special)]
    if by_kind[HeadingKind.PART] >= 2:
        return [h for h in headings if h.kind in (HeadingKind.PART, *special)]
    return [h for h in headings if h.kind is HeadingKind.SPECIAL] if by_kind[HeadingKind.SPECIAL] >= 2 else []


def _markdown_level(headings: list[Heading]) -> int:
    """The highest level that heads more than one chapter: the book's own title stands alone above it."""
    levels = Counter(h.level for h in headings if h.level and h.kind not in (HeadingKind.PART, HeadingKind.BACK))
    several = [level for level, count in sorted(levels.items()) if count >= 2]
    return several[0] if several else 0


def _numbered(text: str, bare: list[Heading], body_end: int) -> list[Heading]:
    """Those numbers that count on from 1, and may begin again; a list of short items is none."""
    chain: list[Heading] = []
    for h in bare:
        if h.number == (chain[-1].number or 0) + 1 if chain else h.number == 1:
            chain.append(h)
        elif h.number == 1 and chain and (chain[-1].number or 0) >= 2:
            chain.append(h)
    words = [_words_after(text, chain, i, body_end) for i in range(len(chain))]
    enough = 40 if any(h.has_title for h in chain) else 3
    return chain if words and sorted(words)[len(words) // 2] >= enough else []
