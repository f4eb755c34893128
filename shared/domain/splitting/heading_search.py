"""Finds the headings of a text by what stands around them: blank lines, fences, underlines, subtitles."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from shared.domain.splitting.headings import (
    MAX_HEADING_LENGTH,
    MAX_SHORT_TITLE_WORDS,
    MAX_TITLE_WORDS,
    Heading,
    HeadingKind,
    clean,
    read_heading,
)
from shared.domain.splitting.page import WRAPPED_LINE, Page

# No two repetitions side by side that take the same characters: a hostile line would take the square of its length.
_ATX = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(\S.*)$")
_SETEXT = re.compile(r"[ ]{0,3}(={2,}|-{3,})\s*$")
_ENDED = re.compile(r"[.!?…:][\"'”’»)\]_*]*\s*$")
_LONG_LINE = 120
_MAX_SUBTITLE_LINE = 80
# A chapter's heading, its line in the contents, and its subtitle, of as many chapters as a book may have.
MAX_HEADINGS = 30_000


def find_headings(page: Page) -> list[Heading]:
    """All that could be headings on the page, in order, with their offsets and subtitles.

    Among them may be the lines of a table of contents, and sentences that look like a heading. Where there are
    more than `MAX_HEADINGS`, every line looks like one, and none is.
    """
    search = _Search(page=page)
    found: list[Heading] = []
    places: list[int] = []
    last = -1
    for i, line in enumerate(page.lines):
        read = search.heading(i, after_heading=last == i - 1) if len(line) <= 2 * MAX_HEADING_LENGTH else None
        if read:
            heading, used = read
            found.append(replace(heading, start=page.offsets[i], end=page.offsets[i + used]))
            last = i + used - 1
            places.append(last + 1)
            if len(found) > MAX_HEADINGS:
                return []
    return _with_subtitles(search, found, places)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """Reads headings by what stands around them."""

    page: Page

    def heading(self, i: int, *, after_heading: bool) -> tuple[Heading, int] | None:
        """The heading whose first line is `i`, and how many lines it takes."""
        page, line = self.page, self.page.words[i]
        if not line or len(line) > MAX_HEADING_LENGTH or page.fenced[i]:
            return None
        if match := _ATX.match(page.lines[i].strip("\ufeff\r\n")):
            heading = read_heading(match[2].rstrip(" \t").rstrip("#").rstrip(" \t"), level=len(match[1]))
            return (heading, 1) if heading else None
        apart = after_heading or page.is_blank(i - 1)
        loose = not apart and (len(page.lines[i - 1]) > _LONG_LINE or bool(_ENDED.search(page.lines[i - 1][-9:])))
        if not (apart or loose):
            return None
        if apart and (level := self._underlined(i, line)):
            heading = read_heading(line, level=level)
            return (heading, 2) if heading else None
        heading = read_heading(line)
        if heading and self._stands(heading, i, line, apart=apart, listed=after_heading):
            return heading, 1
        return None

    def _underlined(self, i: int, line: str) -> int:
        """Level 1 or 2 of a heading that is underlined with `===` or `---`, else 0."""
        match = None if self.page.is_blank(i + 1) else _SETEXT.match(self.page.lines[i + 1])
        if not match or line[0] in "-=*>|" or ":" in line.split()[0] or "|" in line:
            return 0
        if match[1][0] == "=":
            return 1
        # The same row of dashes also parts scenes, below a last short line.
        return 2 if not _ENDED.search(line) and len(line.split()) <= MAX_SHORT_TITLE_WORDS else 0

    def _stands(self, heading: Heading, i: int, line: str, *, apart: bool, listed: bool) -> bool:
        closed = self.page.is_blank(i + 1)
        if heading.kind in (HeadingKind.CHAPTER, HeadingKind.PART) and not heading.weak:
            if heading.bare or self.page.crammed:
                return True
            return apart and (closed or len(line) < WRAPPED_LINE or self._shouted_block(i))
        if heading.kind is HeadingKind.NUMBER and listed:
            return True
        return self.page.crammed or (apart and closed)

    def _shouted_block(self, i: int) -> bool:
        """Whether a heading in capitals runs over a line or two, unlike a paragraph that begins like one."""
        short = any(self.page.is_blank(j) for j in range(i + 1, i + 4))
        return short and self.page.lines[i].split()[0].isupper()

    def subtitle(self, i: int, *, before_text: bool) -> tuple[str, int, bool] | None:
        """The title below a bare heading that ends before line `i`: words, lines, whether directly below."""
        directly = not self.page.is_blank(i)
        first = i if directly else next((j for j in range(i, i + 4) if not self.page.is_blank(j)), -1)
        if self.page.crammed or first < 0 or first >= len(self.page.lines):
            return None
        stop = next((j for j in range(first, first + 4 if directly else first + 2) if self.page.is_blank(j)), -1)
        block = [x.strip() for x in self.page.lines[first : max(stop, first)]]
        if not block or any(len(x) > _MAX_SUBTITLE_LINE or read_heading(x) or _ATX.match(x) for x in block):
            return None
        after = next((j for j in range(stop, stop + 6) if not self.page.is_blank(j)), -1)
        if before_text and (after < 0 or self.heading(after, after_heading=True)):
            return None
        title = clean(" ".join(block), 0)
        return (title, stop - i, directly) if _looks_like_title(title, directly=directly) else None


def _looks_like_title(title: str, *, directly: bool) -> bool:
    words = title.split()
    if not words or not (title[0].isupper() or title[0].isdigit()):
        return False
    if title.isupper():
        return True
    if _ENDED.search(title) or title[-1] in ",;:-—":
        return False
    return directly or sum(w[0].islower() and len(w) > 3 for w in words) * 3 <= len(words) <= MAX_TITLE_WORDS


def _with_subtitles(search: _Search, found: list[Heading], places: list[int]) -> list[Heading]:
    """Add the titles on the lines below; those after a blank line if half of the headings have one."""
    titled = (HeadingKind.CHAPTER, HeadingKind.NUMBER, HeadingKind.PART)
    below = {
        k: subtitle
        for k, h in enumerate(found)
        if h.bare and not h.level and h.kind in titled
        if (subtitle := search.subtitle(places[k], before_text=h.kind is not HeadingKind.PART))
    }
    for kind in titled:
        bare = [k for k, h in enumerate(found) if h.kind is kind and h.bare and not h.level]
        spaced = [k for k in bare if k in below and not below[k][2]]
        if len(spaced) * 2 < len(bare):
            for k in spaced:
                del below[k]
    for k, (title, used, _) in below.items():
        length = sum(map(len, search.page.lines[places[k] : places[k] + used]))
        name = f"{found[k].title.rstrip('.:')}: {title}"
        found[k] = replace(found[k], title=name, bare=False, end=found[k].end + length)
    return found
