"""Compares titles as a reader does: blind to case, punctuation, numbering, leaders and page numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from shared.domain.splitting.numerals import read_number

_WORD_IN_FRONT = re.compile(r"[^\W\d_]{2,20}[\s.]{1,3}")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
_TOKEN = re.compile(r"[^\W_]+")
_PAGE_NUMBER = re.compile(r"(?:\d{1,4}|[ivxlc]{1,7})$", re.IGNORECASE)
_LEADER = " \t.·…_-–—|"
_SEPARATORS = " \t.:;,)]-‐‑‒–—―|"


def split_label(line: str) -> tuple[str, int | None, str]:
    """`ADVENTURE IX. THE THUMB` as `("adventure", 9, "THE THUMB")`; the whole line is the rest if it has no number.

    Any word may stand in front of the number, so a rest must still be found elsewhere to be a title.
    """
    line = line.lstrip("#*_>•- \t(")
    number, used = read_number(line)
    if used:
        return "", number, line[used:].strip(_SEPARATORS)
    word = _WORD_IN_FRONT.match(line)
    if not word:
        return "", None, line
    number, used = read_number(line[word.end() :])
    if not used:
        return "", None, line
    return word.group().strip(" .\t").casefold(), number, line[word.end() + used :].strip(_SEPARATORS)


def is_label(line: str) -> bool:
    """Whether the line is a number, with or without a word in front, and no title."""
    _, number, rest = split_label(line)
    return number is not None and not rest


def title_keys(lines: Sequence[str]) -> list[str]:
    """What the lines of one title can be known by, the most telling first: whole, with its number, without."""
    lines = [_LINK.sub(r"\1", line) for line in lines]
    keyword, number, rest = split_label(lines[0])
    title = _plain(" ".join([rest, *lines[1:]]))
    if number is None:
        return [title] if title else []
    keys = [f"{keyword} {number} {title}".strip()]
    if title:
        keys += [f"{number} {title}", title]
    return list(dict.fromkeys(keys))


def without_page_number(line: str) -> str:
    """The line as it was before a page number and its leader, or as it is."""
    line = line.rstrip(" \t|")
    page = _PAGE_NUMBER.search(line)
    if not page or line[page.start() - 1 : page.start()] not in tuple(_LEADER):
        return line
    return line[: page.start()].rstrip(_LEADER)


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().replace("&", " and ")
    return " ".join(_TOKEN.findall(re.sub(r"['’ʼ]", "", text)))
