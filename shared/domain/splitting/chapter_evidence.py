"""Decides which of the lines that look like headings head the chapters of this book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from shared.domain.splitting.headings import EPIGRAPH_WORDS, FRAME, Heading, HeadingKind
from shared.domain.splitting.listed import listed_headings
from shared.domain.splitting.page import LOOK_AHEAD, Page
from shared.domain.splitting.unmarked import unmarked_headings

# Between the lines of a table of contents there is hardly a word.
_TOC_WORDS = 15
# The items of a list are shorter than chapters.
_NUMBERED_CHAPTER_WORDS = 40
# Numbers that first come after this share of the text head a list in it, not its chapters.
_LATEST_START = 0.3


def chapter_headings(page: Page, headings: list[Heading]) -> list[Heading]:
    """The headings of chapters and parts, in order. May be empty.

    Contents whose titles are all found in the book beat any pattern, but where a pattern finds them all and more
    after them. Where a title is missing, a pattern that finds those that are there knows better.
    """
    listing = listed_headings(page, headings)
    by_pattern = _by_pattern(page, headings)
    if listing is None:
        return by_pattern or unmarked_headings(page)
    listed = {h.start for h in listing.headings}
    more = [h.start for h in by_pattern if h.start not in listed]
    knows_all = len(by_pattern) - len(more) == len(listed)
    goes_on = bool(more) and min(more) > max(listed)
    return by_pattern if knows_all and (goes_on or not listing.complete) else list(listing.headings)


def _by_pattern(page: Page, headings: list[Heading]) -> list[Heading]:
    real = _without_contents(page, _without_sentences(headings))
    count = Counter(h.kind for h in real)
    if count[HeadingKind.CHAPTER] >= 2:
        return _by_keyword(real)
    if chosen := _by_level(page, real):
        return chosen
    if chosen := _by_number(page, real):
        return chosen
    if count[HeadingKind.PART] >= 2 and not count[HeadingKind.CHAPTER]:
        return _by_part(real)
    if count[HeadingKind.CHAPTER] or count[HeadingKind.SPECIAL] >= 2:
        return [h for h in real if h.kind in (HeadingKind.CHAPTER, HeadingKind.PART, HeadingKind.SPECIAL)]
    only = [h for h in real if h.kind is HeadingKind.MARKDOWN]
    return only[:1] if len(only) == 1 and len(page.text) < LOOK_AHEAD * 20 else []


def _words_after(page: Page, headings: list[Heading], i: int) -> int:
    stop = headings[i + 1].start if i + 1 < len(headings) else page.end
    return page.words_between(headings[i].end, stop)


def _without_sentences(headings: list[Heading]) -> list[Heading]:
    """Leave out what reads like a sentence and does not count on from the chapter before."""
    upcoming: list[int | None] = []
    number: int | None = None
    for h in reversed(headings):
        upcoming.append(number)
        if h.kind is HeadingKind.CHAPTER and not h.weak:
            number = h.number
    upcoming.reverse()
    kept, last = [], 0
    for h, following in zip(headings, upcoming, strict=True):
        if h.kind is HeadingKind.PART and not h.weak:
            last = 0 if following == 1 else last
        if h.kind is HeadingKind.CHAPTER:
            if h.weak and (h.number != last + 1 or h.number == following):
                continue
            last = h.number or last + 1
        elif h.weak:
            continue
        kept.append(h)
    return kept


def _without_contents(page: Page, headings: list[Heading]) -> list[Heading]:
    """Leave out tables of contents: headings close upon each other that come again later."""
    keys = _KeysAhead(headings)
    dropped: set[int] = set()
    i = 0
    while i < len(headings):
        j = i
        while j < len(headings) and _words_after(page, headings, j) <= _TOC_WORDS:
            j += 1
        # With the one after them: the last line of the contents stands before the first page.
        run = range(i, min(j + 1, len(headings)))
        dropped.update(_contents(headings, run, keys))
        i = run.stop
    return [h for i, h in enumerate(headings) if i not in dropped]


def _contents(headings: list[Heading], run: range, keys: _KeysAhead) -> range:
    """The lines of contents among these neighbours; fewer are proof enough below the word `Contents`."""
    title: int | None = None
    again: list[int] = []
    for i in run:
        keys.pass_by(i)
        if headings[i].kind is HeadingKind.FRONT and "contents" in headings[i].title.casefold():
            title, again = i, []
        elif keys.come_again(i, in_any_part=title is not None and keys.may_lack_parts(i, run)):
            again.append(i)
    chapters = sum(headings[i].kind is not HeadingKind.PART for i in again)
    if title is not None and again:
        return range(title, again[-1] + 1)
    return range(again[0], again[-1] + 1) if chapters >= 2 else range(0)


class _KeysAhead:
    """Counts the headings that are still to come, by what they say and by the part that they stand in."""

    def __init__(self, headings: list[Heading]) -> None:
        self._plain = [h.key for h in headings]
        self._full: list[tuple[object, ...]] = []
        self._part_so_far: list[bool] = []
        part: object = None
        for h in headings:
            part = h.key if h.kind is HeadingKind.PART else part
            self._full.append((part, h.key))
            self._part_so_far.append(part is not None)
        self._last_part = max((i for i, h in enumerate(headings) if h.kind is HeadingKind.PART), default=-1)
        self._ahead = Counter[object](self._plain)
        self._ahead_in_part = Counter[object](self._full)

    def pass_by(self, i: int) -> None:
        self._ahead[self._plain[i]] -= 1
        self._ahead_in_part[self._full[i]] -= 1

    def may_lack_parts(self, i: int, run: range) -> bool:
        """Whether the contents may name parts that the book does not, or the other way around."""
        return not self._part_so_far[i] or self._last_part < run.stop

    def come_again(self, i: int, *, in_any_part: bool) -> bool:
        return self._ahead_in_part[self._full[i]] > 0 or (in_any_part and self._ahead[self._plain[i]] > 0)


def _by_keyword(headings: list[Heading]) -> list[Heading]:
    """`Chapter N` and its like, with the Markdown headings of the same level among and after them."""
    chapters = [h for h in headings if h.kind is HeadingKind.CHAPTER]
    level, many = Counter(h.level for h in chapters).most_common(1)[0]
    level = level if many * 2 > len(chapters) else 0
    plain = [
        h
        for h in headings
        if h.kind in (HeadingKind.CHAPTER, HeadingKind.PART, HeadingKind.SPECIAL)
        or (level and h.kind is HeadingKind.MARKDOWN and h.level == level and h.start > chapters[0].start)
        or (level and h.kind in FRAME and h.level == level and chapters[0].start < h.start < chapters[-1].start)
    ]
    return _in_order([*plain, *_unnamed_parts(headings, level)]) if level else plain


def _unnamed_parts(headings: list[Heading], level: int) -> list[Heading]:
    """Markdown headings above the chapters' level: parts if there are several, else the book's title."""
    upper = [h for h in headings if h.kind is HeadingKind.MARKDOWN and 0 < h.level < level]
    several = {n for n, count in Counter(h.level for h in upper).items() if count >= 2}
    return [replace(h, kind=HeadingKind.PART) for h in upper if h.level in several]


def _by_level(page: Page, headings: list[Heading]) -> list[Heading]:
    """Markdown headings of one level: the highest of which there are several that hold text themselves."""
    marked = [h for h in headings if h.level and h.kind not in FRAME]
    count = Counter(h.level for h in marked if h.kind is not HeadingKind.PART)
    for level in sorted(n for n, many in count.items() if many >= 2):
        if not _only_groups(page, marked, level):
            break
    else:
        return []
    same = [h for h in headings if h.level == level and h.kind is not HeadingKind.PART]
    core = [h.start for h in same if h.kind not in FRAME]
    inner = [h for h in same if h.kind not in FRAME or core[0] < h.start < core[-1]]
    named = (HeadingKind.PART, HeadingKind.SPECIAL)
    others = [h for h in headings if h.kind in named and (h.level != level or h.kind is HeadingKind.PART)]
    return _in_order([*inner, *others, *_unnamed_parts(headings, level)])


def _only_groups(page: Page, marked: list[Heading], level: int) -> bool:
    """Whether headings of this level are followed at once by deeper ones, and by several each."""
    own = [i for i, h in enumerate(marked) if h.level == level]
    deeper = sum(1 for h in marked if h.level > level)
    groups = sum(
        1
        for i in own
        if i + 1 < len(marked) and marked[i + 1].level > level and _words_after(page, marked, i) <= EPIGRAPH_WORDS
    )
    return deeper > len(own) and groups * 5 >= len(own) * 4


def _by_number(page: Page, headings: list[Heading]) -> list[Heading]:
    """Numbers on their own lines, or numbered titles, that count on from 1 with chapters below them.

    Where both count, bare numbers that begin below a numbered title are its sections.
    """
    bare, titled = _chain(headings, bare=True), _chain(headings, bare=False)
    chains = [titled, bare] if titled and bare and titled[0].start < bare[0].start else [bare, titled]
    for chain in chains:
        if len(chain) >= 2 and _has_chapters(page, chain):
            others = (HeadingKind.PART, HeadingKind.SPECIAL)
            return _in_order([*chain, *(h for h in headings if h.kind in others)])
    return []


def _chain(headings: list[Heading], *, bare: bool) -> list[Heading]:
    """Numbers that count on, over parts too. Bare ones may take titles on the way; titled ones leave bare ones out."""
    chain: list[Heading] = []
    last, after_part = 0, True
    for h in headings:
        if h.kind is HeadingKind.PART:
            after_part = True
        if h.kind is not HeadingKind.NUMBER or h.number is None or (bare and not h.bare and not chain):
            continue
        if not bare and h.bare and chain and not chain[-1].bare:
            continue
        onward = last < h.number <= last + (2 if chain else 1)
        restart = h.number == 1 and (after_part or (h.bare and last >= 2))
        if onward or restart:
            chain.append(h)
            last, after_part = h.number, False
    return chain


def _has_chapters(page: Page, chain: list[Heading]) -> bool:
    words = sorted(_words_after(page, chain, i) for i in range(len(chain)))
    enough = 3 if all(h.bare for h in chain) else _NUMBERED_CHAPTER_WORDS
    if words[len(words) // 2] < enough:
        return False
    if chain[0].start > max(_LATEST_START * len(page.text), 10 * LOOK_AHEAD):
        return False
    # The number of a page stands in the middle of sentences.
    broken = sum(1 for h in chain if page.text[max(0, h.start - 80) : h.start].rstrip()[-1:].isalpha())
    return broken * 2 <= len(chain)


def _by_part(headings: list[Heading]) -> list[Heading]:
    """Parts without chapters: the most frequent of volume, book and part are the chapters."""
    parts = [h for h in headings if h.kind is HeadingKind.PART]
    lowest = Counter(h.keyword for h in parts).most_common(1)[0][0]
    return [
        replace(h, kind=HeadingKind.CHAPTER) if h.keyword == lowest else h
        for h in headings
        if h.kind in (HeadingKind.PART, HeadingKind.SPECIAL)
    ]


def _in_order(headings: Iterable[Heading]) -> list[Heading]:
    return sorted(headings, key=lambda h: h.start)
