"""Recognises the lines that head chapters, parts and what stands around them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_ONES = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth".split()
_TENS = {"twent": 20, "thirt": 30, "fort": 40, "fift": 50, "sixt": 60, "sevent": 70, "eight": 80, "ninet": 90}
_SMALL = {w: i for i, w in enumerate(_ONES, 1)} | {w: i for i, w in enumerate(_ORDINALS, 1)} | {"last": 999}
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}

_SMALL_WORD = "|".join(sorted(_SMALL, key=len, reverse=True))
_TENS_WORD = "(?:" + "|".join(_TENS) + ")(?:y|ieth)"
_NUMBER = rf"(?P<number>\d{{1,4}}|[IVXLCDM]{{1,9}}|(?:the\s+)?(?:{_TENS_WORD}(?:[-\s](?:{_SMALL_WORD}))?|(?:{_SMALL_WORD})))"
_REST = r"(?P<rest>(?:\s*[.:;,–—-]+\s*|\s+|\s*$).*)"
_CHAPTER = re.compile(rf"(?:chapter|chap\.|letter|stave|canto)\s+{_NUMBER}\b{_REST}$", re.IGNORECASE)
_PART = re.compile(rf"(?:volume|vol\.|part|book)\s+{_NUMBER}\b{_REST}$", re.IGNORECASE)
_SPECIAL = re.compile(r"(?:the\s+)?(prologue|epilogue|interlude|intermission|coda)\b(?P<rest>.*)$", re.IGNORECASE)
_BACK = re.compile(
    r"(?:appendix|appendices|notes|endnotes|footnotes|index|glossary|bibliography|acknowledge?ments"
    r"|about the author|transcriber[’']s notes?|afterword)\b.{0,40}$",
    re.IGNORECASE,
)
_BARE = re.compile(r"(?P<number>\d{1,4}|[IVXLCDM]{1,9})(?P<rest>\.?|[.)]\s+\S.*)$")
_ATX = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_DECORATION = re.compile(r"^[\s*_=~•—-]+|[\s*_=~•—-]+$")

MAX_HEADING_WORDS = 25


class HeadingKind(StrEnum):
    CHAPTER = "chapter"
    PART = "part"
    SPECIAL = "special"
    BARE = "bare"
    MARKDOWN = "markdown"
    BACK = "back"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """`start` and `end` are character offsets of its lines; `level` is Markdown's, 0 elsewhere."""

    kind: HeadingKind
    start: int
    end: int
    title: str
    number: int | None = None
    level: int = 0
    has_title: bool = False

    @property
    def key(self) -> tuple[str, object]:
        """Equal for a heading and its line in a table of contents."""
        return (self.kind, self.number if self.number is not None else self.title.casefold())


def clean(line: str) -> str:
    """A heading's words without Markdown, decoration and doubled spaces."""
    return " ".join(_DECORATION.sub("", line).replace("_", "").replace("**", "").split())


def read_heading(lines: list[str], start: int, end: int) -> Heading | None:
    """The heading that these lines (a block between blank lines, or the first line of one) make, if any."""
    first = lines[0].strip()
    atx = _ATX.match(first)
    level = len(atx.group(1)) if atx else 0
    title = clean(" ".join([atx.group(2) if atx else first, *(x.strip() for x in lines[1:])]))
    if not title or len(title.split()) > MAX_HEADING_WORDS:
        return None
    place = {"start": start, "end": end, "title": title, "level": level}
    for kind, pattern in ((HeadingKind.CHAPTER, _CHAPTER), (HeadingKind.PART, _PART)):
        match = pattern.match(title)
        if match and _is_title(match):
            has_title = bool(match["rest"].strip(" .:;,–—-"))
            return Heading(kind=kind, number=parse_number(match["number"]), has_title=has_title, **place)
    return _other(title, level, place)


def _other(title: str, level: int, place: dict[str, object]) -> Heading | None:
    special = _SPECIAL.match(title)
    if special and _is_title(special):
        return Heading(kind=HeadingKind.SPECIAL, **place)  # type: ignore[arg-type]
    if _BACK.match(title) and (level or title[0].isupper()):
        return Heading(kind=HeadingKind.BACK, **place)  # type: ignore[arg-type]
    if level:
        return Heading(kind=HeadingKind.MARKDOWN, **place)  # type: ignore[arg-type]
    bare = _BARE.match(title)
    if bare and _is_title(bare):
        has_title = bool(bare["rest"].strip(" .)"))
        number = parse_number(bare["number"])
        return Heading(kind=HeadingKind.BARE, number=number, has_title=has_title, **place)  # type: ignore[arg-type]
    return None


def _is_title(match: re.Match[str]) -> bool:
    """False for a sentence that only begins like a heading: `Chapter 3 of the report was lost`."""
    rest = match["rest"]
    words = rest.lstrip(" .:;,–—-)")
    if not words:
        return True
    if rest[:1].isspace() and not words[0].isupper() and not words[0].isdigit() and words[0] not in "\"'“‘(":
        return False
    return not words.endswith((",", ";"))


def parse_number(text: str) -> int | None:
    """The value of `12`, `XII`, `Twelve`, `the Twelfth` or `Twenty-One`; None if it is none of these."""
    if text.isdigit():
        return int(text)
    word = text.casefold().removeprefix("the ").strip()
    if word in _SMALL:
        return _SMALL[word]
    for stem, tens in _TENS.items():
        match = re.fullmatch(rf"{stem}(?:y|ieth)(?:[-\s](\w+))?", word)
        if match:
            return tens + _SMALL.get(match.group(1) or "", 0)
    return _roman(text.upper())


def _roman(text: str) -> int | None:
    if not re.fullmatch(r"M{0,3}(?:CM|CD|D?C{0,4})(?:XC|XL|L?X{0,4})(?:IX|IV|V?I{0,4})", text):
        return None
    values = [_ROMAN[c] for c in text]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values)) or None
