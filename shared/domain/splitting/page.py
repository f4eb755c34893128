"""The lines of a manuscript, and what tells where headings can stand among them: blank lines and fences."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from shared.domain.splitting.words import count_words

_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*(?:(\w+)[ \t]*)?$")
_INVISIBLE = string.whitespace + "\x1c\x1d\x1e\x85\xa0\u2028\u2029\u3000\ufeff\u200b"
LOOK_AHEAD = 2000
"""No more characters than this are looked at for words."""
WRAPPED_LINE = 55
"""A line of prose that goes on in the next one is longer."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """`lines` tile `text[start:end]`; `offsets` has one more than there are lines, the last being `end`.

    `crammed` says that a line is a paragraph here, and blank lines say nothing, as in what word processors export.
    """

    text: str
    end: int
    lines: Sequence[str]
    words: Sequence[str]
    offsets: Sequence[int]
    crammed: bool
    fenced: bytearray

    def is_blank(self, i: int) -> bool:
        return not 0 <= i < len(self.words) or not self.words[i]

    def blank_lines_before(self, i: int) -> int:
        """Up to 9, which the beginning of the text has too."""
        return next((n for n in range(min(i, 9)) if self.words[i - n - 1]), 9)

    def following(self, i: int, reach: int) -> int:
        """The first of the `reach` lines from `i` on that is not blank, or -1."""
        return next((j for j in range(i, min(i + reach, len(self.words))) if self.words[j]), -1)

    def block(self, i: int, limit: int) -> list[str]:
        """The lines from `i` on up to a blank one, at most `limit`."""
        stop = next((j for j in range(i, i + limit) if self.is_blank(j)), i + limit)
        return list(self.words[i:stop])

    def words_between(self, start: int, stop: int) -> int:
        """Counts no further than a look ahead."""
        return count_words(self.text[start : min(stop, start + LOOK_AHEAD)])


def read_page(text: str, start: int, end: int) -> Page:
    lines = text[start:end].splitlines(keepends=True)
    return Page(
        text=text,
        end=end,
        lines=lines,
        words=[line.strip(_INVISIBLE) for line in lines],
        offsets=list(accumulate(map(len, lines), initial=start)),
        crammed=_is_crammed(lines),
        fenced=_fenced(lines),
    )


def _is_crammed(lines: Sequence[str]) -> bool:
    blank = sum(1 for line in lines if line.isspace())
    return blank * 20 < len(lines) - blank


def _fenced(lines: Sequence[str]) -> bytearray:
    """A 1 for each line inside a fence that is closed; one that never closes hides nothing."""
    inside = bytearray(len(lines))
    if not any("```" in line or "~~~" in line for line in lines):
        return inside
    opened, mark = -1, ""
    for i, line in enumerate(lines):
        match = _FENCE.match(line)
        if not match:
            continue
        if opened < 0:
            # Rows of tildes alone are an ornament between scenes.
            if match[1][0] == "`" or match[2]:
                opened, mark = i, match[1][:3]
        elif match[1].startswith(mark) and not match[2]:
            inside[opened : i + 1] = b"\1" * (i + 1 - opened)
            opened = -1
    return inside
