"""Reads chapters off a table of contents: a line of the book that equals a title there heads one, whatever its form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from shared.domain.splitting.contents import Entry, TitleLines, contents_headings, openings, read_contents
from shared.domain.splitting.headings import EPIGRAPH_WORDS, FRAME, Heading, HeadingKind, clean, read_heading
from shared.domain.splitting.page import Page
from shared.domain.splitting.title_keys import is_label, split_label, title_keys
from shared.domain.splitting.title_places import title_places

# Between the title of a group and its first one there is hardly a word.
_GROUP_WORDS = 15
_FEWEST = 3
_SECTION = re.compile(r"\d{1,3}\.\d")
_NAMED = (*FRAME, HeadingKind.PART, HeadingKind.SPECIAL)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The headings that contents name, in order; `complete` if each title was found."""

    headings: tuple[Heading, ...]
    complete: bool
    last_line: int


def listed_headings(page: Page, headings: Sequence[Heading]) -> Listing | None:
    """What the contents list, or those of each volume in turn; nothing where they list no chapters."""
    titles = TitleLines(page)
    listings: list[Listing] = []
    done = -1
    for i in contents_headings(page):
        if i <= done:
            continue
        entries = read_contents(page, i + 1, titles)
        listing = _listing(page, entries, titles, headings)
        done = max([i, *(e.stop - 1 for e in entries)])
        if listing:
            listings.append(listing)
            done = listing.last_line
    if not listings:
        # Without a heading above them, lines are contents only if each of them is a title further down.
        entries = read_contents(page, 0, titles)
        first = next((k for k, e in enumerate(entries) if e.key), 0)
        is_list = all(e.key and len(titles.after(e.key, e.stop - 1)) == 1 for e in entries[first:])
        listing = _listing(page, entries, titles, headings) if is_list else None
        return listing if listing and listing.complete and len(listing.headings) >= _FEWEST else None
    return Listing(
        headings=tuple(h for listing in listings for h in listing.headings),
        complete=all(listing.complete for listing in listings),
        last_line=done,
    )


def _listing(page: Page, entries: Sequence[Entry], titles: TitleLines, headings: Sequence[Heading]) -> Listing | None:
    entries = _without_sections(entries)
    places = title_places(page, entries, titles)
    # Contents end before the first of their chapters begins.
    if not places or entries[max(places)].stop > min(places.values()):
        return None
    lost = max(places) - min(places) + 1 - len(places)
    read = _read(page, entries, places, {h.start: h for h in headings})
    own = [k for k, h in read.items() if h.kind not in (*FRAME, HeadingKind.PART)]
    titled = sum(entries[k].is_titled for k in own)
    # Numbers alone are no titles: they are found by counting.
    if titled < 2 or titled * 2 < len(own) or lost * 3 > len(places):
        return None
    framed = [h for k, h in read.items() if own[0] <= k <= own[-1] or h.kind is HeadingKind.PART]
    chapters = _grouped(page, [replace(h, kind=HeadingKind.CHAPTER) if h.kind in FRAME else h for h in framed])
    if sum(h.kind is HeadingKind.CHAPTER for h in chapters) < 2:
        return None
    begin = page.offsets[entries[-1].stop]
    return Listing(
        headings=tuple(_with_unlisted(page, chapters, [h for h in headings if h.start >= begin])),
        complete=not lost,
        last_line=max(places.values()),
    )


def _without_sections(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Without `2.1` and its like, where there is a `2` as well: those are sections of chapters."""
    chapters = [e for e in entries if not _SECTION.match(e.words)]
    numbered = sum(split_label(e.words)[1] is not None for e in chapters)
    return chapters if numbered >= _FEWEST else entries


def _read(
    page: Page, entries: Sequence[Entry], places: dict[int, int], found: dict[int, Heading]
) -> dict[int, Heading]:
    """The headings at these lines as the book prints them, by the entries' indices."""
    read = {}
    for k, i in sorted(places.items()):
        lines = next(
            (o.split("\n") for o in openings(page, i) if entries[k].key in title_keys(_full(o))), [page.words[i]]
        )
        start, end = page.offsets[i], page.offsets[i + len(lines)]
        printed = found.get(start)
        if printed is None or printed.end < end:
            printed = replace(read_heading(lines[0]) or _untold(lines[0]), title=_title(lines), start=start, end=end)
        kind = printed.kind if printed.kind in _NAMED else HeadingKind.CHAPTER
        read[k] = replace(printed, kind=kind)
    return read


def _full(opening: str) -> list[str]:
    return [line for line in opening.split("\n") if line]


def _untold(line: str) -> Heading:
    return Heading(kind=HeadingKind.CHAPTER, title=line)


def _title(lines: Sequence[str]) -> str:
    words = [clean(line.lstrip("# "), 1) for line in lines if line]
    if len(words) > 1 and is_label(words[0]):
        return f"{words[0].rstrip('.:')}: {' '.join(words[1:])}"
    return " ".join(words)


def _grouped(page: Page, chapters: list[Heading]) -> list[Heading]:
    """A title that is followed at once by the next one is that of a group: a part."""
    grouped = []
    for h, following in pairwise(chapters):
        is_group = page.words_between(h.end, following.start) <= _GROUP_WORDS and following.kind is not HeadingKind.PART
        grouped.append(replace(h, kind=HeadingKind.PART) if is_group and h.kind is HeadingKind.CHAPTER else h)
    return [*grouped, *chapters[-1:]]


def _with_unlisted(page: Page, chapters: list[Heading], headings: Sequence[Heading]) -> list[Heading]:
    """Adds the parts above listed chapters, and a prologue before the first or an epilogue after the last."""
    known = {h.start for h in chapters}
    first, last = chapters[0], chapters[-1]
    starts = sorted(h.start for h in chapters)
    added = []
    for h in headings:
        if h.start in known:
            continue
        if h.kind is HeadingKind.SPECIAL and not first.start <= h.start <= last.start:
            added.append(h)
        if h.kind is HeadingKind.PART and not h.weak:
            following = next((s for s in starts if s > h.start), -1)
            if following > 0 and page.words_between(h.end, following) <= EPIGRAPH_WORDS:
                added.append(h)
    return sorted([*chapters, *added], key=lambda h: h.start)
