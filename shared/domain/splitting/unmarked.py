"""Finds titles that nothing marks but how they are set: dates of a diary, capitals, or white space above.

The last resort: any of them may stand in a book whose chapters are headed otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from shared.domain.splitting.headings import MAX_SHORT_TITLE_WORDS, Heading, HeadingKind, clean
from shared.domain.splitting.page import Page

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?\b"
_DATE = re.compile(rf"(?:[^\W\d_]+[,.]? ){{0,2}}(?:{_DAY} (?:of )?{_MONTH}|{_MONTH} {_DAY})", re.IGNORECASE)
_QUOTES = "\"'“‘«„([_*"
_FEWEST = 3
# What heads less than this heads no chapter: signatures, names of speakers, the lines of a title page.
_FEWEST_WORDS = 15
# Chapters begin early: what comes after this share of the text stands in it.
_LATEST_START = 0.3
_WIDE_GAP = 3


def unmarked_headings(page: Page) -> list[Heading]:
    """The titles of the first way of setting them that the book keeps to. May be empty."""
    ways: tuple[Callable[[Page, int], bool], ...] = (_is_dated, _is_shouted, _is_set_apart)
    for is_title in ways:
        lines = [i for i in range(len(page.words)) if _stands_alone(page, i) and is_title(page, i)]
        count = Counter(page.words[i] for i in lines)
        found = _with_text_below(page, [i for i in lines if count[page.words[i]] == 1])
        if len(found) >= _FEWEST and page.offsets[found[0]] - page.offsets[0] <= _LATEST_START * len(page.text):
            return [_heading(page, i) for i in found]
    return []


def _stands_alone(page: Page, i: int) -> bool:
    words = page.words[i]
    if not words or page.crammed or page.fenced[i] or words[0] in _QUOTES or words[-1] in ",;:-—":
        return False
    return len(words.split()) <= MAX_SHORT_TITLE_WORDS and page.is_blank(i - 1) and page.is_blank(i + 1)


def _is_dated(page: Page, i: int) -> bool:
    return _DATE.match(page.words[i]) is not None


def _is_shouted(page: Page, i: int) -> bool:
    return page.words[i].isupper() and any(len(word) > 1 and word.isalpha() for word in page.words[i].split())


def _is_set_apart(page: Page, i: int) -> bool:
    """More blank lines above than paragraphs have, and a capital first."""
    words = page.words[i]
    return page.blank_lines_before(i) >= _WIDE_GAP and words[0].isupper() and words[-1] not in ".!?"


def _with_text_below(page: Page, lines: list[int]) -> list[int]:
    return [
        i
        for i, following in pairwise([*lines, len(page.words)])
        if page.words_between(page.offsets[i + 1], page.offsets[following]) >= _FEWEST_WORDS
    ]


def _heading(page: Page, i: int) -> Heading:
    title = clean(page.words[i], 0)
    return Heading(kind=HeadingKind.CHAPTER, title=title, start=page.offsets[i], end=page.offsets[i + 1])
