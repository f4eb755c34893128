"""Reads tables of contents: runs of lines that come again, further on, as the first lines of paragraphs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from shared.domain.splitting.headings import MAX_HEADING_LENGTH, MAX_SHORT_TITLE_WORDS, HeadingKind, clean, read_heading
from shared.domain.splitting.page import WRAPPED_LINE, Page
from shared.domain.splitting.title_keys import is_label, split_label, title_keys, without_page_number
from shared.domain.splitting.words import count_words

_HEADING = re.compile(
    r"(?:the |table of |list of )?(?:contents|chapters|stories)(?: of .{1,40})?|inhalt|inhaltsverzeichnis|sommaire"
    r"|table des matières|índice|contenido|indice|sommario|inhoud|содержание|оглавление|目\s?录|目\s?次",
    re.IGNORECASE,
)
_ENDED = re.compile(r"[.!?…]$")
_COLUMN_HEADS = frozenset({"chapter", "chap", "page", "pages", "no", "story", "part"})
# So many words that come nowhere again, and the contents are over.
_MISSED_WORDS = 30
_TITLE_LINES = 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A title in the contents, on the lines `first` to `stop`; without a `key` if no line of the book equals it."""

    first: int
    stop: int
    words: str
    key: str = ""

    @property
    def is_titled(self) -> bool:
        return not is_label(self.words)


class TitleLines:
    """The lines of a page that a title could stand on, by all that it could be known by."""

    def __init__(self, page: Page) -> None:
        self._lines: dict[str, list[int]] = defaultdict(list)
        claimed = -1
        for i, words in enumerate(page.words):
            if i == claimed or not _may_head(page, i):
                continue
            for opening in openings(page, i):
                for key in title_keys(opening.split("\n")):
                    if not self._lines[key] or self._lines[key][-1] != i:
                        self._lines[key].append(i)
            if _takes_title_below(words) and page.is_blank(i + 1):
                below = page.following(i + 1, _TITLE_LINES)
                claimed = -1 if is_label(page.words[below]) else below

    def after(self, key: str, i: int) -> list[int]:
        return [line for line in self._lines.get(key, ()) if line > i]

    def come_again(self, key: str, i: int) -> bool:
        return key in self._lines and self._lines[key][-1] > i


def _may_head(page: Page, i: int) -> bool:
    words = page.words[i]
    if not words or len(words) > MAX_HEADING_LENGTH or page.fenced[i]:
        return False
    if page.crammed:
        return True
    is_title = len(words) <= WRAPPED_LINE or words.isupper() or len(page.block(i, _TITLE_LINES + 1)) <= _TITLE_LINES
    return is_title and (page.is_blank(i - 1) or is_label(page.words[i - 1]))


def openings(page: Page, i: int) -> Iterator[str]:
    """The lines that a title on line `i` could take, shortest first: one, two or three, or a number and its title."""
    yield page.words[i]
    if page.words[i].startswith("#"):
        return  # Markdown says where its heading ends
    block = [] if page.crammed else page.block(i, _TITLE_LINES + 1)
    block = block[: next((n for n, words in enumerate(block) if words.startswith("#")), len(block))]
    for n in range(2, min(len(block), _TITLE_LINES) + 1):
        is_title = len(block) <= _TITLE_LINES or is_label(block[0]) or block[n - 1].isupper()
        if is_title and sum(map(len, block[:n])) <= MAX_HEADING_LENGTH:
            yield "\n".join(block[:n])
    below = page.following(i + 1, _TITLE_LINES) if page.crammed or page.is_blank(i + 1) else -1
    is_title = below > 0 and not page.words[below].startswith("#") and len(page.words[below]) <= MAX_HEADING_LENGTH
    if is_title and _takes_title_below(page.words[i]):
        for title in openings(page, below) if not is_label(page.words[below]) else ():
            yield "\n".join([page.words[i], *([""] * (below - i - 1)), title])


def _takes_title_below(words: str) -> bool:
    """A part's number may stand above the title of its first chapter instead of its own."""
    if not is_label(words):
        return False
    heading = read_heading(words)
    return heading is None or heading.kind is not HeadingKind.PART


def contents_headings(page: Page) -> list[int]:
    return [
        i
        for i, words in enumerate(page.words)
        if words and len(words) <= 2 * _MISSED_WORDS and _HEADING.fullmatch(clean(words.lstrip("# "), 1).rstrip(".:"))
    ]


def read_contents(page: Page, start: int, titles: TitleLines) -> list[Entry]:
    """The titles on the lines from `start` on, and what stands between them; ends with a title. May be empty."""
    entries: list[Entry] = []
    last, missed, i, stop = 0, 0, start, len(page.words)
    while i < stop and missed <= _MISSED_WORDS:
        words = page.words[i]
        if not words or words.casefold().strip(" .:") in _COLUMN_HEADS:
            i += 1
            continue
        entry = _entry(page, i, titles) if len(words) <= MAX_HEADING_LENGTH else None
        if entry is None:
            missed += count_words(words[: 20 * _MISSED_WORDS])
            i += 1
            entries.append(Entry(first=i - 1, stop=i, words=words))
            continue
        if not last:
            stop = titles.after(entry.key, entry.stop - 1)[0]  # where the first title comes again, the book begins
        entries.append(entry)
        last, missed, i = len(entries), 0, entry.stop
    return entries[:last]


def _entry(page: Page, i: int, titles: TitleLines) -> Entry | None:
    """The longest run of lines that comes again as a title, unless its later lines do so by themselves."""
    found: Entry | None = None
    has_label = _takes_title_below(page.words[i])
    for opening in openings(page, i):
        if _ENDED.search(opening) and len(opening.split()) > MAX_SHORT_TITLE_WORDS:
            continue  # a sentence that comes again is no title
        lines = opening.split("\n")
        stop = i + len(lines)
        if _goes_on(page, stop):
            continue
        if len(lines) > 1 and not has_label and _known_as(lines[-1:], stop - 1, titles):
            break
        if len(lines) > 1 and split_label(lines[-1])[1] is not None:
            break
        if key := _known_as([line for line in lines if line], stop - 1, titles):
            found = Entry(first=i, stop=stop, words=" ".join(lines), key=key)
    return found


def _goes_on(page: Page, i: int) -> bool:
    """Whether a line goes on with what the line above it began."""
    return not page.crammed and not page.is_blank(i) and page.words[i][0].islower()


def _known_as(lines: list[str], last: int, titles: TitleLines) -> str:
    """The most telling key by which this title comes again after the line `last`, or nothing."""
    printed = title_keys(lines)
    shorter = title_keys([*lines[:-1], without_page_number(lines[-1])])
    keys = [*printed[:1], *shorter[:1], *printed[1:], *shorter[1:]]
    return next((key for key in keys if titles.come_again(key, last)), "")
