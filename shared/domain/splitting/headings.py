"""Recognises lines that head chapters, parts and what frames them: one line at a time, without context."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.splitting.numerals import ROMAN, read_number

MAX_HEADING_LENGTH = 200
MAX_TITLE_WORDS = 25
MAX_SHORT_TITLE_WORDS = 12

_HAN_NUMBER = re.compile(r"[0-9０-９一二三四五六七八九十百千零〇两]{1,8}")

_KEYWORD = re.compile(
    r"(?P<chapter>chapter|chap|letter|stave|canto|scene|kapitel|chapitre|cap[ií]tulo|capitolo|hoofdstuk|глава)"
    r"[\s.]+|(?P<part>volume|vol|part|book|act|teil|partie|tome|parte|часть)[\s.]+",
    re.IGNORECASE,
)
_HAN = re.compile(rf"第\s?(?P<number>{_HAN_NUMBER.pattern})\s?(?:(?P<chapter>[章回])|(?P<part>[卷部]))")
_NAMED = re.compile(
    r"(?:the\s)?(?:(?P<special>prologue|epilogue|interlude|intermission|intermezzo|coda)"
    r"|(?P<front>(?:table of )?contents|preface|foreword|introduction|dedication|etymology|extracts|epigraph)"
    r"|(?P<back>appendix|appendices|(?:end|foot)?notes|index|glossary|bibliography|afterword|about the author"
    r"|acknowledge?ments|author['’]s note|transcriber['’]s notes?|endnotes))(?!\w)",
    re.IGNORECASE,
)
_DECORATION = " \t*_=~•·—–\ufeff\u200b\u2060"
_SEPARATORS = ".:;,)]-‐‑‒–—―|"
_OPENERS = "\"'“‘«([_*¿¡"


class HeadingKind(StrEnum):
    CHAPTER = "chapter"
    PART = "part"
    SPECIAL = "special"
    NUMBER = "number"
    MARKDOWN = "markdown"
    FRONT = "front"
    BACK = "back"


FRAME = (HeadingKind.FRONT, HeadingKind.BACK)
"""What stands around a book's chapters."""
EPIGRAPH_WORDS = 60
"""Between a part's heading and its first chapter there are no more words than these."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A line that could be a heading: `title` as printed, but for keywords in capitals and decoration.

    `start` and `end` are character offsets of its lines; `level` is Markdown's, 0 elsewhere; `bare` says that
    it names no title of its own; `weak` that it reads like a sentence, and needs more evidence.
    """

    kind: HeadingKind
    title: str
    keyword: str = ""
    number: int | None = None
    level: int = 0
    bare: bool = False
    weak: bool = False
    start: int = 0
    end: int = 0

    @property
    def key(self) -> tuple[str, str, object]:
        """Equal for a heading and its line in a table of contents."""
        return (self.kind, self.keyword, self.title.casefold() if self.number is None else self.number)


def read_heading(line: str, level: int = 0) -> Heading | None:
    """What this line heads, if anything; `level` is that of a Markdown heading without its marks."""
    words = clean(line, level)
    if not any(c.isalnum() for c in words) or "](" in words:
        return None
    return _read_keyword(words, level) or _read_named(words, level) or _read_other(words, level)


def clean(line: str, level: int) -> str:
    """The words without emphasis and ornaments; nothing for an item of a bulleted list."""
    line = line.strip("\ufeff\u200b\u2060 \t")
    if not level and line.startswith(("- ", "* ", "+ ", "• ", ">")) and line[-1] != line[0]:
        return ""
    if line[:1] == line[-1:] == "-":
        line = line.strip("-")
    return " ".join(line.replace("**", "").strip(_DECORATION).split())


def _read_keyword(words: str, level: int) -> Heading | None:
    match = _KEYWORD.match(words) or _HAN.match(words)
    if not match:
        return None
    keyword, number, used = match.group(match.lastgroup or 0).casefold(), None, 0
    if match.re is _KEYWORD:
        number, used = read_number(words[match.end() :])
        if not used:
            return None
    label, rest = words[: match.end() + used], words[match.end() + used :]
    shouted = label.split()[0].isupper()
    if not _is_title(rest, shouted=shouted or bool(level)):
        return None
    bare = not _bare_title(rest)
    return Heading(
        kind=HeadingKind.CHAPTER if match["chapter"] else HeadingKind.PART,
        title=_lower_shouting(label) + ("" if bare else rest),
        keyword=keyword,
        number=number,
        level=level,
        bare=bare,
        weak=not (bare or level or shouted) and _reads_like_sentence(rest),
    )


def _read_named(words: str, level: int) -> Heading | None:
    match = _NAMED.match(words)
    if not match:
        return None
    label, rest = match.group(), words[match.end() :]
    is_appendix = match["back"] and label.casefold().startswith("append")
    if not (label[0].isupper() or level) or not _is_title(rest, shouted=False):
        return None
    if rest[:1] == " " and not (label.isupper() or is_appendix or rest[1] in _SEPARATORS + "("):
        return None
    kind = HeadingKind(str(match.lastgroup))
    title = (label.title() if label.isupper() else label) + (rest if _bare_title(rest) else "")
    return Heading(kind=kind, title=title, level=level, weak=not level and _reads_like_sentence(rest))


def _read_other(words: str, level: int) -> Heading | None:
    number, used = read_number(words.removeprefix("("))
    used += words.startswith("(") if used else 0
    rest = words[used:]
    if used and (not rest or rest in (".", ":", ")", ".)")):
        return Heading(
            kind=HeadingKind.MARKDOWN if level else HeadingKind.NUMBER,
            title=words.rstrip(":"),
            number=number,
            level=level,
            bare=True,
        )
    if level:
        return Heading(kind=HeadingKind.MARKDOWN, title=words, level=level)
    if not used:
        return _read_labelled(words)
    if not _is_numbered_title(words[:used], rest):
        return None
    return Heading(kind=HeadingKind.NUMBER, title=words, number=number)


def _read_labelled(words: str) -> Heading | None:
    """`ADVENTURE IX. THE THUMB` in capitals, or `Lecture the First: On Paper`: any word, a number and a title."""
    front, _, rest = words.partition(" ")
    unmistakable = words.isupper() or (front.istitle() and rest.startswith("the "))
    number, used = read_number(rest) if unmistakable and front.isalpha() else (None, 0)
    title = rest[used:]
    if not used or not _bare_title(title) or title[0] not in _SEPARATORS:
        return None
    return Heading(kind=HeadingKind.NUMBER, title=words, keyword=front.casefold(), number=number)


def _is_numbered_title(label: str, rest: str) -> bool:
    title = _bare_title(rest)
    if not title or not _is_title(rest, shouted=False) or len(title.split()) > MAX_SHORT_TITLE_WORDS:
        return False
    spaced = rest[0] == " " and rest.lstrip()[0] not in _SEPARATORS
    if (spaced and not label.isdigit()) or rest[0] in ",;-" or (rest[0] in ".:" and rest[1:2] != " "):
        return False
    return (title[0].isupper() or title[0] in _OPENERS or not title[0].isascii()) and not _reads_like_sentence(rest)


def _bare_title(rest: str) -> str:
    return rest.strip(" " + _SEPARATORS)


def _is_title(rest: str, *, shouted: bool) -> bool:
    """False for a sentence that only begins like a heading: `Chapter 3 of the report was lost`."""
    title = _bare_title(rest)
    if not title:
        return not rest.rstrip().endswith((",", ";"))
    if rest[0] != " " and rest[0] not in _SEPARATORS:
        return False
    if not shouted and (rest.rstrip().endswith((",", ";")) or len(title.split()) > MAX_TITLE_WORDS):
        return False
    begins = title.lstrip(_OPENERS)[:1]
    separated = rest.lstrip()[0] in ":-‐‑‒–—―|"
    return separated or (shouted and rest[0] != ",") or not begins.islower()


def _reads_like_sentence(rest: str) -> bool:
    title = _bare_title(rest)
    words = title.split()
    lower = sum(w[0].islower() for w in words)
    ended = rest.rstrip("\"'”’)").endswith((".", "!", "?", "…"))
    return len(words) >= 3 and lower * 2 >= len(words) and (ended or rest[0] == " " or len(words) > 12)


def _lower_shouting(label: str) -> str:
    """`CHAPTER TWENTY-ONE` as `Chapter Twenty-One`, but `CHAPTER XXI` as `Chapter XXI`."""
    first, _, number = label.partition(" ")
    if not first.isupper() or len(first) < 2:
        return label
    if number.isupper() and not ROMAN.fullmatch(number):
        number = number.title().replace("The ", "the ").replace("And ", "and ")
    return f"{first.capitalize()} {number}".rstrip()
